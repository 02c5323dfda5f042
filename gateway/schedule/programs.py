"""What is remembered of each program: the worker that holds its context and the service it has attained."""

from __future__ import annotations

from collections import OrderedDict


class Program:
    """One run of a program. Mutable."""

    __slots__ = ("calls", "has_several", "service_s", "shared_tokens", "worker")

    def __init__(self) -> None:
        self.calls = 0
        """In flight."""
        self.has_several = False
        """Whether it was known, at one of its calls, to have others."""
        self.shared_tokens: int | None = None
        """Of its first prompt, what others had left in some cache: not its own context."""
        self.worker: str | None = None
        self.service_s = 0.0
        """The longest chain of service observed (ATLAS), equal to the sum for calls one after another (PLAS)."""

    def start(self, worker: str) -> None:
        """One more of its calls is in flight, and its context is there."""
        self.worker = worker
        self.calls += 1

    def end(self, attained_s: float, service_s: float) -> None:
        """A call that arrived when the program had attained `attained_s` took `service_s` (Autellix, ATLAS)."""
        self.calls -= 1
        self.service_s = max(self.service_s, attained_s + service_s)


class ProgramTable:
    """At most `max_programs`, least recently used forgotten first."""

    __slots__ = ("_max_programs", "_programs")

    def __init__(self, max_programs: int) -> None:
        self._max_programs = max_programs
        self._programs: OrderedDict[str, Program] = OrderedDict()

    def __len__(self) -> int:
        return len(self._programs)

    def find(self, name: str) -> Program | None:
        """The program if it is remembered; does not count as a use."""
        return self._programs.get(name)

    def use(self, name: str) -> Program:
        """The program, remembered from now on."""
        program = self._programs.get(name)
        if program is not None:
            self._programs.move_to_end(name)
            return program
        program = self._programs[name] = Program()
        if len(self._programs) > self._max_programs:
            self._programs.popitem(last=False)
        return program

    def forget(self, name: str) -> None:
        """The program is over."""
        self._programs.pop(name, None)
