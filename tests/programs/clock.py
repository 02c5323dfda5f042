"""An event loop whose time passes only when nothing is left to do: a minute of waiting costs nothing, and repeats.

Threads and a real Redis work in real time: while one of them owes an answer (`owed`), the clock stands still.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
LOOK_S = 0.02
"""Real seconds between two looks at what the outside owes."""
STUCK_LOOKS = 1500
SOCKET_PATIENCE_S = 0.01


class _Selector(selectors.DefaultSelector):
    """Asks its loop what to do instead of sleeping."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(0)
        if events or (timeout is not None and timeout <= 0):
            return events
        for _ in range(STUCK_LOOKS):
            owed = self.loop.owed
            events = super().select(LOOK_S if owed else self.loop.patience_s)
            if events:
                return events
            if not owed:
                return self.loop.pass_time(timeout)
        raise RuntimeError("what the outside owes did not come")


class VirtualLoop(asyncio.SelectorEventLoop):
    """Time jumps to the next timer. `settle` lets all happen that needs no time."""

    def __init__(self) -> None:
        selector = _Selector()
        selector.loop = self
        self._now_s = 1000.0
        self.patience_s = 0.0
        """Real seconds in which something from outside may come unasked, before time moves on."""
        self.owed = 0
        """Answers of threads and servers that are under way."""
        self._settling: asyncio.Future[None] | None = None
        super().__init__(selector)

    def time(self) -> float:
        """Virtual seconds."""
        return self._now_s

    def unix_time(self) -> float:
        """The same as `time.time` has it, for the store in memory."""
        return 1.7e9 + self._now_s

    def pass_time(self, timeout: float | None) -> list[Any]:
        """Nothing is ready: whoever settles has settled, or the clock moves on."""
        settling, self._settling = self._settling, None
        if settling is not None:
            settling.set_result(None)
        elif timeout is None:
            raise RuntimeError("everything waits, and nothing ever happens again")
        else:
            self._now_s += timeout
        return []

    async def settle(self) -> None:
        """Until nothing is left that could happen at this moment."""
        self._settling = self.create_future()
        await self._settling

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:
        """A thread owes its answer."""
        return self.outside(super().run_in_executor(executor, func, *args))

    def outside(self, future: asyncio.Future[T]) -> asyncio.Future[T]:
        """The clock stands still until this is done: it needs nothing but real time."""
        self.owed += 1
        future.add_done_callback(self._paid)
        return future

    def _paid(self, _: object) -> None:
        self.owed -= 1


def in_virtual_time(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run `work` on such a loop; what it sends itself through sockets is there before time moves on."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, VirtualLoop)
        loop.patience_s = SOCKET_PATIENCE_S
        return runner.run(work())
