"""A gateway of its own process, in front of two simulated workers."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from engines.launch_flags import free_ports
from examples.gateways import READY, Gateway

ROOT = Path(__file__).parents[2]


@contextmanager
def process(*words: str, env: dict[str, str] | None = None) -> Iterator["subprocess.Popen[str]"]:
    child = subprocess.Popen(
        [sys.executable, "-m", *words],
        cwd=ROOT,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield child
    finally:
        child.terminate()
        child.communicate(timeout=20)


@pytest.fixture(scope="module")
def running() -> Iterator[Gateway]:
    ports = free_ports(2)
    speed = ("--prefill-tokens-per-s", "20000", "--decode-tokens-per-s", "2000", "--output-tokens", "40")
    memory = {"LOOMGATE_SERVER__ADMIN_LISTEN": "127.0.0.1:0", "LOOMGATE_STORE__URL": "memory://"}
    with ExitStack() as stack:
        for port in ports:
            stack.enter_context(process("engines.simulated", "--port", str(port), *speed))
        workers = [word for port in ports for word in ("--worker", f"http://127.0.0.1:{port}")]
        gateway = stack.enter_context(process("gateway.cli", "serve", "--port", "0", *workers, env=memory))
        assert gateway.stdout is not None
        ready = next(filter(None, map(READY.match, gateway.stdout)))
        yield Gateway(**ready.groupdict())
