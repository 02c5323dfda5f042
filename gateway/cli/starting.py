"""What `loomgate up` shows and hears while it runs: the workers' line, the ready lines, the signals."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import signal
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Final

from engines.install.console import StepLine
from gateway.app import Gateway
from gateway.fleet import Worker, WorkerState
from gateway.http.server import Listening
from gateway.store.open import StoreStatus

INTERRUPTED: Final = 130
_REFRESH_S: Final = 0.5
_QUESTION: Final = "What is the capital of France?"


class Workers:
    """Step 4: an async context that keeps its line current while the workers start."""

    def __init__(self, names: Sequence[str]) -> None:
        """`names` are the local workers; none when attached to others."""
        self._names = names
        self._ready: dict[str, float] = {}
        self._line = StepLine("4/5", "workers")
        self._clock = asyncio.get_running_loop().time
        self._started_s = self._clock()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> None:
        """Begin to show progress."""
        if self._names:
            self._task = asyncio.create_task(self._refresh())

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Stop showing it."""
        self._stop()

    def on_change(self, name: str, _url: str, up: bool) -> None:
        """A worker came up or went down."""
        if up and name not in self._ready:
            self._ready[name] = self._clock() - self._started_s

    def all_ready(self) -> None:
        """Print the line for good; `attached_lines` is for workers that run already."""
        self._stop()
        if not self._names:
            return
        self._line.text = self._text()
        self._line.done(f"log: .loomgate/{self._names[0]}.log")

    def _text(self) -> str:
        ready = ", ".join(f"{name} ready {self._ready[name]:.0f} s" for name in self._names if name in self._ready)
        return f"workers {ready}" if ready else f"workers {', '.join(self._names)}"

    async def _refresh(self) -> None:
        while True:
            self._line.text = self._text()
            self._line.update(f"starting  {self._clock() - self._started_s:.0f}s")
            await asyncio.sleep(_REFRESH_S)

    def _stop(self) -> None:
        if self._task is not None:
            self._task.cancel()


class Signals:
    """Ctrl-C and SIGTERM while no gateway serves: the first cancels the start, or the stop; the second kills."""

    def __init__(self, kill: Callable[[], None]) -> None:
        """`kill` ends every child at once."""
        self._kill = kill
        self._main = asyncio.current_task()
        self._count = 0

    def install(self) -> None:
        """Take the signals, in place of whoever had them."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._heard)

    def _heard(self) -> None:
        self._count += 1
        if self._count > 1 or self._main is None:
            self._kill()
            os._exit(INTERRUPTED)
        self._main.cancel()


def attached_lines(workers: Iterable[Worker]) -> str:
    """Step 4 for workers of others: which answered, and what is wrong with those that did not."""
    workers = list(workers)
    silent = [worker for worker in workers if worker.state is not WorkerState.UP]
    status = "ok" if not silent else f"{len(silent)} of {len(workers)} not ready: taken in when they are"
    lines = [StepLine("4/5", "workers attached, none started").line(status)]
    lines += [f"      {worker.name} {worker.url}: {worker.last_error or 'no answer yet'}" for worker in silent]
    return "\n".join(lines)


def ready_lines(listening: Listening, gateway: Gateway) -> str:
    """Step 5, the ready line, and a command that works as pasted."""
    keys = "required" if gateway.settings.keys else "none (loopback only)"
    step = StepLine("5/5", "gateway").line(f"store: {store_words(gateway.store.status())}")
    return "\n".join(
        (
            step,
            f"READY {listening.url}/v1   keys: {keys}   Ctrl-C stops",
            f"  {curl(listening.url, _model(gateway), keyed=bool(gateway.settings.keys))}",
            "  next: make demo (another terminal)",
        )
    )


def curl(url: str, model: str | None, *, keyed: bool) -> str:
    """A request as a shell takes it: a chat call, or the list of models while no worker has told its own."""
    words = ["curl", "-s", "--noproxy", "*"]
    key = ['"authorization: Bearer $LOOMGATE_KEY"'] if keyed else []
    if model is None:
        words += [f"{url}/v1/models"]
    else:
        body = {"model": model, "messages": [{"role": "user", "content": _QUESTION}], "temperature": 0}
        words += [f"{url}/v1/chat/completions", "-H", "content-type: application/json", "-d", json.dumps(body)]
    return " ".join([shlex.join(words), *(part for header in key for part in ("-H", header))])


def _model(gateway: Gateway) -> str | None:
    return next((model for worker in gateway.fleet for model in worker.info.models), None)


def store_words(status: StoreStatus) -> str:
    """What holds the graph, and whether it keeps it: `redis (private, durable)`."""
    if status.mode == "memory":
        return "memory (volatile)"
    whose = {"private": "private", "redis": "yours"}[status.mode]
    if status.up:
        return f"redis ({whose}, {'durable' if status.durable else 'not durable'})"
    return f"redis ({whose}), not up yet: {status.why_not}; until then calls with inputs or outputs get a 503"
