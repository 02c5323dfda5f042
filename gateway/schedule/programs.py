"""What is remembered of each program: the worker that holds its context and the service it has attained."""

from __future__ import annotations

from collections import OrderedDict


class Program:
    """One run of a program. Mutable."""

    __slots__ = ("service_s", "worker")

    def __init__(self) -> None:
        self.worker: str | None = None
        self.service_s = 0.0
        """The longest chain of service observed (ATLAS), equal to the sum for calls one after another (PLAS)."""


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

    def credit(self, name: str, attained_s: float, service_s: float) -> None:
        """A call that arrived when its program had attained `attained_s` took `service_s` (Autellix, ATLAS)."""
        program = self._programs.get(name)
        if program is not None:
            program.service_s = max(program.service_s, attained_s + service_s)

    def forget(self, name: str) -> None:
        """The program is over."""
        self._programs.pop(name, None)
