"""`loomgate doctor`: what a worker's flags lack, and what each would buy."""

from __future__ import annotations

import argparse
import asyncio
from typing import Final

from engines.base import EngineError
from engines.doctor import examine
from engines.vllm import VllmWorker
from gateway.cli import FAILED, OK, USAGE, Subparsers, add_help, complain, key_in
from gateway.settings import worker_url

_CONNECT_S: Final = 5.0
_EXAMPLES: Final = """\
  loomgate doctor --worker http://gpu1:8000
  loomgate doctor --worker http://gpu1:8000 --worker http://gpu2:8000 --api-key-env GPU_KEY"""


def add_parser(subparsers: Subparsers) -> None:
    """Declare the command's flags."""
    parser = add_help(subparsers, "doctor", examples=_EXAMPLES)
    parser.add_argument("--worker", action="append", required=True, metavar="URL", help="repeatable")
    parser.add_argument("--api-key-env", metavar="NAME", help="the variable that holds the workers' API key")


def run(args: argparse.Namespace) -> int:
    """Examine each worker; fails if one does not answer."""
    try:
        api_key = key_in(args.api_key_env)
    except ValueError as error:
        complain(str(error))
        return USAGE
    status = OK
    for given in args.worker:
        try:
            url = worker_url(given)
        except ValueError as error:
            complain(f"--worker: {error}")
            return USAGE
        if not asyncio.run(_examine(url, api_key)):
            status = FAILED
    return status


async def _examine(url: str, api_key: str | None) -> bool:
    """Print what one worker lacks, a line each; False if it does not answer."""
    worker = VllmWorker(url, api_key=api_key, connect_s=_CONNECT_S)
    try:
        info = await worker.probe()
        load = await worker.load()
    except EngineError as error:
        complain(f"{url} does not answer as a worker: {error}")
        return False
    finally:
        await worker.close()
    print(f"{url}  {', '.join(info.models)}  {info.capabilities.version or 'version unknown'}")
    for finding in examine(info, load):
        print(f"  {finding}")
    return True
