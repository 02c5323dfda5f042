"""`loomgate serve`: the gateway, in front of workers that exist."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Final

import uvloop

from gateway import logs
from gateway.app import Gateway, Reload
from gateway.cli import FAILED, OK, USAGE, Subparsers, add_help, complain
from gateway.config import SettingsError, config_path, load_settings, reload_settings
from gateway.http.server import Listening
from gateway.settings import Settings
from gateway.store.server import ServerError

_EXAMPLES: Final = """\
  loomgate serve --worker http://127.0.0.1:8000
  loomgate serve --config loomgate.toml --redis-url redis://10.0.0.5:6379/0
  loomgate serve --worker http://gpu1:8000 --port 0        a free port; it is printed
  LOOMGATE_WORKER=http://gpu1:8000,http://gpu2:8000 loomgate serve
SIGHUP reads the settings again; SIGTERM and Ctrl-C let running replies finish."""
GC_THRESHOLDS: Final = (50_000, 20, 100)
"""A call allocates some hundred objects and frees them all by reference count: look for cycles seldom."""


def add_parser(subparsers: Subparsers) -> None:
    """Declare the command's flags."""
    parser = add_help(subparsers, "serve", examples=_EXAMPLES)
    parser.add_argument("--host", help="address to listen on (default 127.0.0.1)")
    parser.add_argument("--port", type=int, help="port to listen on, 0 for a free one (default 8080)")
    parser.add_argument("--admin-listen", metavar="HOST:PORT", help="the admin listener (default 127.0.0.1:8081)")
    parser.add_argument("--worker", action="append", metavar="URL", help="a worker's base URL; repeatable")
    parser.add_argument("--redis-url", metavar="URL", help="default: a private redis-server; memory:// is volatile")
    parser.add_argument("--config", type=Path, metavar="FILE", help="TOML file (or LOOMGATE_CONFIG)")
    parser.add_argument("--insecure", action="store_true", help="serve beyond this machine without API keys")
    parser.add_argument("--hints", choices=("off", "observe", "on"), help="what hints may do (default on)")


def overrides(args: argparse.Namespace) -> dict[str, object]:
    """The flags as settings; None where a flag was not given."""
    return {
        "server.host": args.host,
        "server.port": args.port,
        "server.admin_listen": args.admin_listen,
        "server.insecure": True if args.insecure else None,
        "store.url": args.redis_url,
        "hints.mode": args.hints,
        "worker": [{"url": url} for url in args.worker] if args.worker else None,
    }


def run(args: argparse.Namespace) -> int:
    """Serve until told to stop."""
    path, flags = config_path(args.config, os.environ), overrides(args)

    def reload(current: Settings) -> Settings:
        found = reload_settings(current, path, os.environ, flags)
        logs.reloaded(found.changed, found.needs_restart)
        return found.settings

    def ready(listening: Listening) -> None:
        keys = f"{len(settings.keys)}" if settings.keys else "none"
        print(f"READY {listening.url}/v1   keys: {keys}   admin: {listening.admin_url}", flush=True)

    try:
        settings = load_settings(path, os.environ, flags)
        logs.configure(settings.log.level, settings.log.format)
        raise_file_limit(settings.limits.connections)
        serve(settings, reload=reload, ready=ready)
    except SettingsError as error:
        complain(str(error))
        return USAGE
    except (ServerError, OSError, ValueError) as error:
        complain(str(error))
        return FAILED
    return OK


def serve(settings: Settings, *, reload: Reload, ready: Callable[[Listening], None]) -> None:
    """Run a gateway in this process until it is told to stop, or twice: then it ends at once.

    Raises: SettingsError, ServerError, ValueError.
    """

    async def main() -> None:
        async with Gateway(settings, reload=reload) as gateway:
            gc.collect()
            gc.freeze()
            gc.set_threshold(*GC_THRESHOLDS)
            await gateway.serve(ready)

    with (
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        contextlib.suppress(asyncio.CancelledError),
    ):
        runner.run(main())


def raise_file_limit(connections: int) -> None:
    """Let the process open a client's and a worker's socket per connection, as far as the system allows."""
    wanted = 2 * connections + 256
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
        soft = allowed
    if soft != resource.RLIM_INFINITY and soft < wanted:
        complain(f"only {soft} open files are allowed; raise `ulimit -n` to {wanted} for limits.connections")
