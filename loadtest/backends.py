"""What stands behind a gateway that is measured: mock workers and a private Redis."""

import sys
from collections.abc import Sequence

from gateway.store.server import BinaryMissing, find_binary, server_arguments
from loadtest.children import Child, ChildError, Family, answers

_READY_S = 60.0


def start_mock(family: Family, ports: Sequence[int]) -> None:
    """A mock worker on each of these ports, answering when this returns. Raises: ChildError."""
    flags = [flag for port in ports for flag in ("--port", str(port))]
    mock = family.start("mock", [sys.executable, "-m", "loadtest.mock_worker", *flags])
    mock.wait_until(lambda: all(answers(port, "GET", "/health") for port in ports), _READY_S)


def start_redis(family: Family) -> tuple[Child, str]:
    """A durable Redis of our own (every write synced), as the gateway starts one for itself. Raises: ChildError."""
    try:
        program = find_binary()
    except BinaryMissing as error:
        raise ChildError(str(error)) from None
    socket = family.folder / "redis.sock"
    child = family.start("redis", [str(program), *server_arguments(family.folder, socket)])
    child.wait_until(socket.exists, _READY_S)
    return child, f"unix://{socket}"
