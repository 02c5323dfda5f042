"""`loomgate profile`: what a step costs a worker, measured with plain OpenAI calls, as a file for the simulator."""

from __future__ import annotations

import argparse
import asyncio
import os
from pathlib import Path
from typing import Final

from engines.base import EngineError, WorkerInfo
from engines.profiling.experiments import experiments
from engines.profiling.fit import Fit, Measured, TooFewPoints, fit
from engines.profiling.measure import measure
from engines.simulated.limits import EngineLimits
from engines.simulated.profile import Profile, write
from engines.vllm import VllmWorker
from gateway.cli import FAILED, OK, USAGE, Subparsers, add_help, complain, key_in
from gateway.settings import worker_url

_CONNECT_S: Final = 5.0
_DEFAULT_LENGTH: Final = 4096
"""The longest prompt and reply of a worker that does not tell."""
_EXAMPLES: Final = """\
  loomgate profile --worker http://gpu1:8000
  loomgate profile --worker http://gpu1:8000 --out h100.json --max-num-batched-tokens 8192
  python -m engines.simulated --profile h100.json          # a worker that is as fast, without a GPU

The worker should be idle. Ctrl-C ends it early and keeps what there is."""


def add_parser(subparsers: Subparsers) -> None:
    """Declare the command's flags."""
    parser = add_help(subparsers, "profile", examples=_EXAMPLES)
    parser.add_argument("--worker", required=True, metavar="URL")
    parser.add_argument("--api-key-env", metavar="NAME", help="the variable that holds the worker's API key")
    parser.add_argument("--out", type=Path, default=Path("profile.json"), metavar="FILE")
    parser.add_argument("--seconds", type=float, default=180.0, help="begin nothing new after so long (180)")
    flags = "as the worker was started (it does not tell; default: %(default)s)"
    limits = EngineLimits()
    parser.add_argument("--max-num-batched-tokens", type=int, default=limits.max_num_batched_tokens, help=flags)
    parser.add_argument("--max-num-seqs", type=int, default=limits.max_num_seqs, help=flags)


def run(args: argparse.Namespace) -> int:
    """Measure, fit, write; fails if the worker does not answer or too little was measured."""
    found: list[Measured] = []
    known: list[WorkerInfo] = []
    try:
        url, api_key = worker_url(args.worker), key_in(args.api_key_env)
        EngineLimits(max_num_batched_tokens=args.max_num_batched_tokens, max_num_seqs=args.max_num_seqs)
        if not _can_write(args.out):
            return FAILED
        asyncio.run(_measure(url, api_key, args, known, found))
    except ValueError as error:
        complain(str(error))
        return USAGE
    except KeyboardInterrupt:
        complain(f"stopped after {len(found)} measurements")
    except EngineError as error:
        complain(f"{args.worker}: {error}")
        if not found:
            return FAILED
    return _keep(args, known, found)


def _can_write(path: Path) -> bool:
    """Whether a file can be written, which is said now and not after minutes of measuring; it stays as it is."""
    try:
        is_new = not os.path.lexists(path)
        with path.open("ab"):
            pass
        if is_new:
            path.unlink()
    except OSError as error:
        complain(f"--out {path}: {error.strerror}")
        return False
    return True


async def _measure(
    url: str, api_key: str | None, args: argparse.Namespace, known: list[WorkerInfo], found: list[Measured]
) -> None:
    """Add to `known` what the worker says of itself, and to `found` what was measured. Raises: EngineError."""
    worker = VllmWorker(url, api_key=api_key, connect_s=_CONNECT_S)
    try:
        info = await worker.probe()
        if not info.models:
            raise EngineError("it serves no model")
        known.append(info)
        length = info.max_model_len or _DEFAULT_LENGTH
        plan = list(experiments(length, info.kv_capacity_tokens or length, args.max_num_seqs))
        await measure(worker, info.models[0], plan, found, within_s=args.seconds, progress=complain)
    finally:
        await worker.close()


def _keep(args: argparse.Namespace, known: list[WorkerInfo], found: list[Measured]) -> int:
    try:
        fitted = fit(found, args.max_num_batched_tokens)
    except TooFewPoints as error:
        complain(f"too little was measured: {error}")
        return FAILED
    try:
        write(_profile(args, known[0], fitted), args.out)
    except OSError as error:
        complain(f"--out {args.out}: {error.strerror}")
        return FAILED
    _show(fitted, args.out)
    return OK


def _profile(args: argparse.Namespace, info: WorkerInfo, fitted: Fit) -> Profile:
    block_tokens = info.block_size or EngineLimits().block_tokens
    kv_tokens = info.kv_capacity_tokens or EngineLimits().kv_tokens
    limits = EngineLimits(
        kv_blocks=max(2, kv_tokens // block_tokens),
        block_tokens=block_tokens,
        max_num_batched_tokens=args.max_num_batched_tokens,
        max_num_seqs=args.max_num_seqs,
        is_caching=info.capabilities.prefix_caching,
        by_priority=info.capabilities.priority,
    )
    engine = info.capabilities.version or ""
    return Profile(info.models[0], fitted.costs, limits, fitted.request_s, fitted.error, fitted.points, engine)


def _show(fitted: Fit, out: Path) -> None:
    costs = fitted.costs
    print(f"a step                       {costs.step_s * 1e3:10.3f} ms")
    print(f"  each prompt token          {costs.prefill_token_s * 1e6:10.1f} us")
    print(f"  each decoding sequence     {costs.decode_sequence_s * 1e6:10.1f} us")
    print(f"  each token of its context  {costs.context_token_s * 1e9:10.1f} ns")
    print(f"  each pair of prompt tokens {costs.prefill_pair_s * 1e9:10.3f} ns")
    print(f"a request                    {fitted.request_s * 1e3:10.3f} ms")
    print(f"mean error of the fit        {fitted.error * 100:10.1f} %   over {len(fitted.points)} experiments")
    print(f"written to {out}")
