"""Local workers: start them together, watch them, restart them, stop them.

One task owns one worker for its whole life: start, wait until it answers, wait until it ends, restart later.
Leaving the launcher's context cancels the tasks, and each ends its process group.
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from engines.launch_flags import WorkerSpec
from engines.launch_process import WorkerProcess, answers

log = logging.getLogger(__name__)

OnChange = Callable[[str, str, bool], None]
"""Called with a worker's name, its URL, and whether it is up now."""

SOCKET_PATH_BYTES = 100
"""What a unix socket's path may take (108 with the terminator on Linux, 104 elsewhere)."""


class WorkerFailed(Exception):
    """A worker did not become ready; the message ends with the last lines of its log."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """The wait before a restart: doubling from `base_s` to `cap_s`, forgotten after `stable_s` of service."""

    base_s: float = 1.0
    cap_s: float = 60.0
    stable_s: float = 120.0

    def delay_s(self, failures: int) -> float:
        """The wait before the restart that follows `failures` ends in a row (1 or more)."""
        return min(self.cap_s, self.base_s * 2.0 ** min(failures - 1, 30))


@dataclass(slots=True)
class _Watched:
    spec: WorkerSpec
    ready: asyncio.Future[float]
    process: WorkerProcess | None = None
    failures: int = 0
    up: bool = False


@dataclass(slots=True)
class Launcher:
    """An async context in which the workers of `specs` run.

    Entering waits until all are ready. Raises on entering: WorkerFailed, with none left running.
    """

    specs: Sequence[WorkerSpec]
    run_dir: Path
    on_change: OnChange = lambda _name, _url, _up: None
    ready_s: float = 300.0
    stop_s: float = 10.0
    poll_s: float = 0.25
    backoff: Backoff = Backoff()
    _watched: dict[str, _Watched] = field(default_factory=dict, init=False)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list, init=False)

    async def __aenter__(self) -> Launcher:
        """Start every worker; returns when all have answered."""
        self.run_dir.mkdir(parents=True, exist_ok=True)
        loop = asyncio.get_running_loop()
        self._watched = {spec.name: _Watched(spec, loop.create_future()) for spec in self.specs}
        self._tasks = [
            asyncio.create_task(self._own(watched), name=f"worker-{name}")
            for name, watched in self._watched.items()
        ]
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self.stop)
            await asyncio.gather(*(watched.ready for watched in self._watched.values()))
            stack.pop_all()
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Stop every worker; returns when no process is left."""
        await self.stop()

    async def stop(self) -> None:
        """Stop every worker and wait for it. A second call ends at once what the first still waits for."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for watched in self._watched.values():
            watched.ready.cancel()

    def kill(self) -> None:
        """End every process at once, without waiting."""
        for watched in self._watched.values():
            if watched.process is not None:
                watched.process.kill()

    def pid(self, name: str) -> int | None:
        """The process group of a worker that runs just now."""
        process = self._watched[name].process
        return None if process is None else process.pid

    def log_of(self, name: str) -> Path:
        """Where a worker's output goes."""
        return self.run_dir / f"{name}.log"

    async def _own(self, watched: _Watched) -> None:
        try:
            await self._keep_running(watched)
        except Exception as error:
            if watched.ready.done():
                log.exception("worker_abandoned", extra={"worker": watched.spec.name})
            else:
                watched.ready.set_exception(error)

    async def _keep_running(self, watched: _Watched) -> None:
        """Serve, again and again. Raises: WorkerFailed if the very first start fails."""
        self.log_of(watched.spec.name).write_bytes(b"")
        while True:
            started_s = _now_s()
            try:
                await self._serve_once(watched)
            except WorkerFailed:
                if not watched.ready.done():
                    raise
                log.warning("worker_restart_failed", extra={"worker": watched.spec.name})
            lived_s = _now_s() - started_s
            watched.failures = 1 if lived_s >= self.backoff.stable_s else watched.failures + 1
            await asyncio.sleep(self.backoff.delay_s(watched.failures))

    async def _serve_once(self, watched: _Watched) -> None:
        """One process from its start to its end. Raises: WorkerFailed if it never became ready."""
        spec = watched.spec
        started_s = _now_s()
        process = await WorkerProcess.start(spec, self.log_of(spec.name))
        watched.process = process
        try:
            await self._until_ready(process)
            self._went_up(watched, _now_s() - started_s)
            status = await process.wait()
            log.warning("worker_ended", extra={"worker": spec.name, "pid": process.pid, "status": status})
        finally:
            await process.stop(self.stop_s)
            watched.process = None
            self._went_down(watched)

    async def _until_ready(self, process: WorkerProcess) -> None:
        spec = process.spec
        deadline_s = _now_s() + self.ready_s
        while _now_s() < deadline_s:
            if process.exit_status is not None:
                raise WorkerFailed(_report(process, f"ended with status {process.exit_status}"))
            if await answers(spec.port, "/health", limit_s=2.0):
                return
            await asyncio.sleep(self.poll_s)
        raise WorkerFailed(_report(process, f"did not answer within {self.ready_s:.0f} s"))

    def _went_up(self, watched: _Watched, took_s: float) -> None:
        spec = watched.spec
        log.info("worker_up", extra={"worker": spec.name, "url": spec.url, "took_s": round(took_s, 1)})
        if not watched.ready.done():
            watched.ready.set_result(took_s)
        watched.up = True
        self.on_change(spec.name, spec.url, True)

    def _went_down(self, watched: _Watched) -> None:
        if watched.up:
            watched.up = False
            self.on_change(watched.spec.name, watched.spec.url, False)


def _report(process: WorkerProcess, what: str) -> str:
    return f"worker {process.spec.name} {what}; the end of {process.log}:\n{process.log_tail()}"


def _now_s() -> float:
    return asyncio.get_running_loop().time()


def socket_folder(run_dir: Path, longest_name: str = "replay00") -> Path:
    """A private folder for unix sockets: in `run_dir`, or a short temporary one where that path is too long."""
    folder = run_dir.resolve() / "sockets"
    if len(str(folder / longest_name).encode()) > SOCKET_PATH_BYTES:
        return Path(tempfile.mkdtemp(prefix="loomgate-"))
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder
