"""One engine process of ours: its group, its log, its health route."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from engines import launch_guard
from engines.launch_flags import WorkerSpec

LOG_TAIL_BYTES = 8192
_POLL_S = 0.05
_KILL_S = 2.0


@dataclass(frozen=True, slots=True)
class WorkerProcess:
    """A started engine. `pid` is the guard's, which is the id of its process group too."""

    spec: WorkerSpec
    log: Path
    guard: asyncio.subprocess.Process

    @classmethod
    async def start(cls, spec: WorkerSpec, log: Path) -> WorkerProcess:
        """Start the engine in a group of its own; its output is appended to `log`."""
        cpus = ",".join(map(str, spec.cpus)) or "-"
        with log.open("ab") as output:
            guard = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", launch_guard.__file__, cpus, *spec.argv),
                stdin=asyncio.subprocess.PIPE,
                stdout=output,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, **dict(spec.env)},
            )
        return cls(spec, log, guard)

    @property
    def pid(self) -> int:
        """The process group's id."""
        return self.guard.pid

    @property
    def exit_status(self) -> int | None:
        """The engine's status, above 128 for a signal; None while it runs."""
        return self.guard.returncode

    async def wait(self) -> int:
        """Wait until the engine has ended; returns its status."""
        return await self.guard.wait()

    async def stop(self, grace_s: float) -> None:
        """End the whole group: SIGTERM, and SIGKILL once `grace_s` is over or when cancelled.

        Safe after the engine has ended: what it left behind in its group ends too.
        """
        if not self._signal(signal.SIGTERM):
            return
        try:
            await self._gone_within(grace_s)
        finally:
            self.kill()
        await self._gone_within(_KILL_S)

    def kill(self) -> None:
        """End the whole group at once."""
        self._signal(signal.SIGKILL)

    def log_tail(self, lines: int = 15) -> str:
        """The last lines the engine wrote."""
        return tail(self.log, lines)

    def _signal(self, signum: signal.Signals | None) -> bool:
        """Signal the group (None: only look); whether anything is left in it."""
        try:
            os.killpg(self.pid, signum or 0)
        except (ProcessLookupError, PermissionError):
            return False
        return True

    async def _gone_within(self, limit_s: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                await self.guard.wait()
                while self._signal(None):  # noqa: ASYNC110
                    await asyncio.sleep(_POLL_S)


def tail(path: Path, lines: int) -> str:
    """The last `lines` lines of a log, read from its last 8 KiB; empty when there is none."""
    if not path.exists():
        return ""
    with path.open("rb") as log:
        log.seek(max(0, log.seek(0, os.SEEK_END) - LOG_TAIL_BYTES))
        text = log.read().decode(errors="replace")
    return "\n".join(text.splitlines()[-lines:])


async def answers(port: int, path: str, limit_s: float) -> bool:
    """Whether `GET path` on a loopback port answers 200 within `limit_s`. No proxy is ever asked."""
    with suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
        async with asyncio.timeout(limit_s):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
                return (await reader.readexactly(12)).endswith(b" 200")
            finally:
                writer.close()
    return False
