"""What must become of a program: the rules of `docs/variables.md` as a plain, sequential state machine.

A call is parked, ready (at a worker or queued for one) or over. It parks while a name it lists has no value; it is
over with 424 as soon as one failed, or when its time is up. A call that ends well gives all its outputs their
values, one that ends otherwise fails those that have none, and both wake who waits. Which worker a call runs on,
and whether it waits for a place, is the scheduler's affair: the test tells the model of it. All else the model says
first.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum

from tests.programs.world import DEPTH, INPUT_S

ORPHAN_S = 30.0
OUTSIDE = -1
"""The producer of a variable that was set from outside."""
TRANSFORMS = {"text": "", "digits": ';regex="[0-9]+"', "json": ';json="$.x"'}


class Stand(Enum):
    """Where a call stands."""

    PARKED = "parked"
    READY = "ready"
    OVER = "over"


@dataclass(eq=False)
class Call:
    """One call as it was sent, and what the model knows of it."""

    number: int
    tenant: str
    session: str
    gateway: int
    step: str
    inputs: tuple[str, ...]
    after: tuple[str, ...]
    outputs: dict[str, str]
    """Name to transform."""
    stream: bool
    deadline_s: float = 0.0
    stand: Stand = Stand.PARKED
    status: int = 0
    """Of its reply, once it is over. 599 stands for any of 502, 503 and 504."""
    refused: bool = False
    begun: bool = False
    """Whether the client has its first byte."""
    left: bool = False
    orphan_until_s: float | None = None
    followed: set[str] = field(default_factory=set)
    """Those of `after` that were over when it looked: a later call of the same step changes nothing."""
    failed_by: frozenset[int] = frozenset()
    """Calls that one of the causes of a 424 must begin with."""

    @property
    def text(self) -> str:
        """The prompt as sent."""
        return " ".join([f"<{self.number} {self.tenant}>", *(f"{{{{{name}}}}}" for name in self.inputs)])

    @property
    def names(self) -> tuple[str, ...]:
        """All it waits for."""
        return (*self.inputs, *self.after)


@dataclass
class Variable:
    """One variable: declared by a call, until it has a value or failed."""

    producer: int
    state: str = "declared"
    text: str = ""


@dataclass
class Run:
    """One session of one tenant."""

    variables: dict[str, Variable] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    """Those that were declared."""

    def pending(self, call: Call) -> list[str]:
        """What a call has yet to produce."""
        return [n for n, v in self.variables.items() if v.producer == call.number and v.state == "declared"]


def cut(transform: str, reply: str) -> str | None:
    """The value of an output, None if the transform does not match."""
    if transform == "text":
        return reply
    found = re.search(r"[0-9]+" if transform == "digits" else r'"x": "([^"]*)"', reply)
    return None if found is None else found.group(found.lastindex or 0)


class Model:
    """All sessions; time in seconds. Every method leaves nothing that could still happen at once."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.runs: dict[tuple[str, str], Run] = {}
        self.calls: list[Call] = []

    def run_of(self, call: Call) -> Run:
        """Its session."""
        return self.run(call.tenant, call.session)

    def run(self, tenant: str, session: str) -> Run:
        """A session, new or not."""
        return self.runs.setdefault((tenant, session), Run())

    def submit(self, call: Call) -> None:
        """A call arrives: 409, 400, or it is declared."""
        run = self.run_of(call)
        self.calls.append(call)
        call.deadline_s = self.now_s + INPUT_S
        held = [name for name in call.outputs if name in run.variables and run.variables[name].state != "failed"]
        status = 409 if held else self._refusal(run, call)
        if status:
            call.refused, call.stand, call.status = True, Stand.OVER, status
            for name in call.outputs if status == 400 else ():
                run.variables.setdefault(name, Variable(call.number, "failed"))
            self.wake(run)
            return
        run.calls.append(call)
        for name in call.outputs:
            run.variables[name] = Variable(call.number)
        self.wake(run)

    def _refusal(self, run: Run, call: Call) -> int:
        if set(call.names) & set(call.outputs):
            return 400
        calls = [*run.calls, call]
        ahead = {each.number: set(run.pending(each)) for each in calls} | {call.number: set(call.outputs)}

        def up(of: Call, seen: frozenset[int]) -> float:
            if of.number in seen:
                return float("inf")
            sources = [each for each in calls if ahead[each.number] & set(of.names)]
            return 1 + max((up(each, seen | {of.number}) for each in sources), default=0)

        def down(of: Call) -> float:
            readers = [each for each in calls if ahead[of.number] & set(each.names)]
            return 1 + max((down(each) for each in readers), default=0)

        above = up(call, frozenset())
        return 400 if above + (0 if above == float("inf") else down(call)) - 1 > DEPTH else 0

    def wake(self, run: Run) -> None:
        """Whoever's names are all there is ready; whoever's never will be is over; and so on down the graph."""
        changed = True
        while changed:
            changed = False
            for call in run.calls:
                if call.stand is Stand.PARKED:
                    changed = self._look(run, call) or changed

    def _look(self, run: Run, call: Call) -> bool:
        found = {name: run.variables.get(name, _UNKNOWN) for name in call.names if name not in call.followed}
        failed = {variable.producer for variable in found.values() if variable.state == "failed"}
        if failed:
            call.failed_by = frozenset(failed)
            self._over(call, 424)
            return True
        call.followed |= {n for n in call.after if n in found and self._is_over(run, n, found[n])}
        if call.followed == set(call.after) and all(found[name].state == "value" for name in call.inputs):
            call.stand = Stand.READY
            return True
        return False

    def _is_over(self, run: Run, name: str, variable: Variable) -> bool:
        """Whether a variable has its value, or a step is finished.

        It is once a call of that name has ended and none runs; one that was refused is none.
        """
        if variable.state == "value":
            return True
        named = [call for call in run.calls if call.step == name or name in call.outputs]
        return bool(named) and all(call.stand is Stand.OVER for call in named)

    def _over(self, call: Call, status: int) -> None:
        call.stand, call.status, call.orphan_until_s = Stand.OVER, status, None
        run = self.run_of(call)
        for name in run.pending(call):
            run.variables[name].state = "failed"

    def prompt(self, call: Call) -> str:
        """What its worker must get."""
        run = self.run_of(call)
        values = [run.variables[name].text for name in call.inputs]
        return " ".join([f"<{call.number} {call.tenant}>", *values])

    def answered(self, call: Call, text: str) -> None:
        """Its worker replied in full."""
        run = self.run_of(call)
        values = {name: cut(transform, text) for name, transform in call.outputs.items()}
        pending = set(run.pending(call))
        if pending == set(values) and None not in values.values():
            for name, value in values.items():
                run.variables[name].state, run.variables[name].text = "value", value or ""
        self.ended(call, 200)

    def ended(self, call: Call, status: int) -> None:
        """It is over, with no value for what has none."""
        self._over(call, status)
        self.wake(self.run_of(call))

    def left(self, call: Call, lingers: bool) -> None:
        """Its client left: the call ends, unless somebody waits for what it produces.

        `lingers` if it was seen to go on: for some seconds a gateway goes by those who waited a moment ago.
        """
        if call.stand is Stand.OVER or call.left:
            return
        call.left = True
        if self.awaited(call) or (lingers and self.was_awaited(call)):
            call.orphan_until_s = self.now_s + ORPHAN_S
        else:
            self.ended(call, 499)

    def awaited(self, call: Call) -> bool:
        """Whether a parked call waits for something it produces."""
        return any(
            other.stand is Stand.PARKED and set(other.names) & set(call.outputs)
            for other in self.run_of(call).calls
        )

    def was_awaited(self, call: Call) -> bool:
        """Whether any other call ever listed something it produces."""
        return any(set(other.names) & set(call.outputs) for other in self.run_of(call).calls if other is not call)

    def put(self, tenant: str, session: str, name: str, text: str) -> int:
        """Set a variable from outside: 201 or 409."""
        run = self.run(tenant, session)
        held = run.variables.get(name, _UNKNOWN)
        if held.state not in ("unknown", "failed"):
            return 201 if (held.producer, held.text) == (OUTSIDE, text) else 409
        run.variables[name] = Variable(OUTSIDE, "value", text)
        self.wake(run)
        return 201

    def cancel(self, tenant: str, session: str) -> None:
        """Fail what has a producer and no value, end the session's calls on every gateway."""
        run = self.run(tenant, session)
        for variable in run.variables.values():
            if variable.state == "declared":
                variable.state = "failed"
        for call in run.calls:
            if call.stand is not Stand.OVER:
                self._over(call, 409)
        self.wake(run)

    def pass_time(self, seconds: float) -> None:
        """Orphans are given up, and who has waited too long is told so, in order of time."""
        until_s = self.now_s + seconds
        while (due := self._next_due()) is not None and due[0] <= until_s:
            self.now_s, call, status = due
            self.ended(call, status)
        self.now_s = until_s

    def _next_due(self) -> tuple[float, Call, int] | None:
        due = [(c.deadline_s, c, 424) for c in self.calls if c.stand is Stand.PARKED]
        due += [(c.orphan_until_s, c, 499) for c in self.calls if c.orphan_until_s is not None]
        return min(due, key=lambda each: each[0], default=None)


_UNKNOWN = Variable(OUTSIDE, "unknown")
