"""The benchmark's own child processes: started with a log, waited for, and ended with everything below them."""

import contextlib
import http.client
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from gateway.store.parent_death import die_with_parent

_STOP_DEADLINE_S = 8.0
_POLL_S = 0.05


class ChildError(RuntimeError):
    """A child ended early or was not ready in time; the message ends with the last lines of its log."""


class Child:
    """One server started by the benchmark, in a process group of its own so that nothing below it survives.

    A benchmark that is killed outright takes it along; the thread that starts a child must outlive it.
    """

    def __init__(self, name: str, argv: Sequence[str], folder: Path, env: Mapping[str, str]) -> None:
        self.name = name
        self._log = folder / f"{name}.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=_inherited_env() | dict(env),
                start_new_session=True,
                preexec_fn=die_with_parent(),  # noqa: PLW1509 - it looks nothing up after the fork
            )

    @property
    def pid(self) -> int:
        """The process id; also the id of its process group."""
        return self._process.pid

    def wait_until(self, is_ready: Callable[[], bool], deadline_s: float) -> None:
        """Poll `is_ready`; raises `ChildError` when the child ends first or the deadline passes."""
        give_up_s = time.monotonic() + deadline_s
        while not is_ready():
            if self._process.poll() is not None:
                raise ChildError(f"{self.name} ended with {self._process.returncode}:\n{self._log_tail()}")
            if time.monotonic() > give_up_s:
                raise ChildError(f"{self.name} not ready after {deadline_s:.0f} s:\n{self._log_tail()}")
            time.sleep(_POLL_S)

    def terminate(self) -> None:
        """SIGTERM, without waiting."""
        self._process.terminate()

    def kill(self) -> None:
        """SIGKILL to the whole group, for one that has nothing to keep and takes its time to stop."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM, then SIGKILL to the whole group after a deadline; safe to call twice."""
        if self._process.poll() is None:
            self.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_STOP_DEADLINE_S)
        self.kill()
        self._process.wait()

    def _log_tail(self) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-8:])


class Family:
    """All children of one benchmark; on exit they are told to stop together, then waited for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.children: list[Child] = []

    def start(self, name: str, argv: Sequence[str], env: Mapping[str, str] | None = None) -> Child:
        """Start a child that writes its log into the folder."""
        child = Child(name, argv, self.folder, env or {})
        self.children.append(child)
        return child

    def __enter__(self) -> "Family":
        return self

    def __exit__(self, *_: object) -> None:
        """Stop everything, deaf to a second Ctrl-C meanwhile."""
        heard = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            for child in self.children:
                child.terminate()
            for child in self.children:
                child.stop()
        finally:
            signal.signal(signal.SIGINT, heard)


def _inherited_env() -> dict[str, str]:
    """Our environment without proxies and without settings that would reach the measured gateway."""
    proxies = {"http_proxy", "https_proxy", "all_proxy"}
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("LOOMGATE_") and name.lower() not in proxies
    }


def answers(
    port: int, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
) -> bool:
    """Whether 127.0.0.1:`port` answers the request with a 200 within 2 s."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2.0)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json", **(headers or {})})
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
