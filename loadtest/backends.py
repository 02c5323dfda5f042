"""What stands behind a gateway that is measured: mock workers and a private Redis."""

import shutil
import sys
from collections.abc import Sequence

from loadtest.children import Child, Family, answers

_READY_S = 60.0


def start_mock(family: Family, ports: Sequence[int]) -> None:
    """A mock worker on each of these ports, answering when this returns. Raises: ChildError."""
    flags = [flag for port in ports for flag in ("--port", str(port))]
    mock = family.start("mock", [sys.executable, "-m", "loadtest.mock_worker", *flags])
    mock.wait_until(lambda: all(answers(port, "GET", "/health") for port in ports), _READY_S)


def start_redis(family: Family) -> tuple[Child, str]:
    """A durable Redis of our own (every write synced), as the gateway would start for itself."""
    program = shutil.which("redis-server")
    if program is None:
        raise FileNotFoundError("redis-server is not on PATH")
    socket = family.folder / "redis.sock"
    flags = ["--port", "0", "--unixsocket", str(socket), "--dir", str(family.folder), "--save", ""]
    flags += ["--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction"]
    child = family.start("redis", [program, *flags])
    child.wait_until(socket.exists, _READY_S)
    return child, f"unix://{socket}"
