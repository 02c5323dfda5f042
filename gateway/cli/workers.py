"""`loomgate workers`: the workers of a running gateway, through its admin listener."""

from __future__ import annotations

import argparse
import os
from typing import Final
from urllib.parse import quote

import httpx

from gateway.cli import FAILED, OK, Subparsers, add_help, complain

DEFAULT_ADMIN_URL: Final = "http://127.0.0.1:8081"
_TIMEOUT_S: Final = 10.0
_EXAMPLES: Final = """\
  loomgate workers list
  loomgate workers add http://gpu3:8000 --name gpu-3
  loomgate workers drain gpu-3        no new calls; those running finish
  loomgate workers remove gpu-3
The gateway's admin listener: --admin-url or LOOMGATE_ADMIN_URL; its key, if it has one: LOOMGATE_ADMIN_KEY."""


def add_parser(subparsers: Subparsers) -> None:
    """Declare the command's flags."""
    parser = add_help(subparsers, "workers", examples=_EXAMPLES)
    parser.add_argument("--admin-url", metavar="URL", help=f"default {DEFAULT_ADMIN_URL}")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    actions.add_parser("list", help="one line per worker")
    add = actions.add_parser("add", help="put a worker into rotation once it answers")
    add.add_argument("url", metavar="URL")
    add.add_argument("--name", help="default: its host and port, such as gpu3-8000")
    add.add_argument("--api-key-env", metavar="NAME", help="the gateway's variable LOOMGATE_WORKER_KEY_... to use")
    for action, text in (("drain", "send it no new calls"), ("remove", "forget it; its calls move or end")):
        actions.add_parser(action, help=text).add_argument("name", metavar="NAME")


def run(args: argparse.Namespace) -> int:
    """Ask the gateway, print what it says."""
    url = args.admin_url or os.environ.get("LOOMGATE_ADMIN_URL") or DEFAULT_ADMIN_URL
    key = os.environ.get("LOOMGATE_ADMIN_KEY")
    headers = {"authorization": f"Bearer {key}"} if key else {}
    try:
        with httpx.Client(base_url=url, headers=headers, timeout=_TIMEOUT_S, trust_env=False) as client:
            reply = _ask(client, args)
            shown = reply.json()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        complain(f"no gateway answers on {url}: {error}; is it running, and is this its admin listener?")
        return FAILED
    if reply.is_error:
        complain(shown["error"]["message"] if "error" in shown else f"the gateway answered {reply.status_code}")
        return FAILED
    _show(args.action, shown)
    return OK


def _ask(client: httpx.Client, args: argparse.Namespace) -> httpx.Response:
    match args.action:
        case "list":
            return client.get("/workers")
        case "add":
            body = {"url": args.url, "name": args.name, "api_key_env": args.api_key_env}
            return client.post("/workers", json={name: value for name, value in body.items() if value is not None})
        case "drain":
            return client.post(f"/workers/{quote(args.name, safe='')}/drain")
        case _:
            return client.delete(f"/workers/{quote(args.name, safe='')}")


def _show(action: str, shown: dict[str, object]) -> None:
    if action != "list":
        print(f"{shown.get('name')} {shown.get('state', 'added')}")
        return
    workers = shown.get("data")
    if not isinstance(workers, list) or not workers:
        print("no workers; add one with `loomgate workers add URL`")
        return
    rows = [("NAME", "STATE", "URL", "MODELS"), *(_row(worker) for worker in workers)]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for name, state, url, models in rows:
        print(f"{name:<{widths[0]}}  {state:<{widths[1]}}  {url:<{widths[2]}}  {models}".rstrip())


def _row(worker: dict[str, object]) -> tuple[str, str, str, str]:
    models = worker.get("models")
    names = ",".join(str(model) for model in models) if isinstance(models, list) else ""
    return str(worker.get("name")), str(worker.get("state")), str(worker.get("url")), names
