"""What must become of a program: the rules of `docs/variables.md` as a plain, sequential state machine.

A call is parked, ready (at a worker or queued for one), a map whose items run, or over. It parks while a name it
lists has no value; it is over with 424 as soon as one failed, or when its time is up. A call that ends well gives
all its outputs their values, one that ends otherwise fails those that have none, and both wake who waits. Which
worker a call runs on, and whether it waits for a place, is the scheduler's affair: the test tells the model of it.
All else the model says first.
"""

from __future__ import annotations

from collections.abc import Callable

from tests.programs.call import Call, Stand, cut, items_in, list_text
from tests.programs.session import OUTSIDE, Session, Variable
from tests.programs.world import INPUT_S

ORPHAN_S = 30.0
LOOK_AGAIN_S = 5.0
"""How often an orphan is looked after from then on."""


class Model:
    """All sessions; time in seconds. Every method leaves nothing that could still happen at once."""

    def __init__(self, is_gone: Callable[[Call], bool]) -> None:
        """`is_gone` says whether an orphan was seen to end: some seconds go by what was awaited a moment ago."""
        self.now_s = 0.0
        self.sessions: dict[tuple[str, str], Session] = {}
        self.calls: list[Call] = []
        self._is_gone = is_gone

    def session_of(self, call: Call) -> Session:
        """Its session."""
        return self.session(call.spec.tenant, call.spec.session)

    def session(self, tenant: str, session: str) -> Session:
        """A session, new or not."""
        return self.sessions.setdefault((tenant, session), Session())

    # What clients do

    def submit(self, call: Call) -> None:
        """A call arrives: 409, 400, or it is declared."""
        session = self.session_of(call)
        self.calls.append(call)
        call.deadline_s = self.now_s + INPUT_S
        call.refused = session.refuses(call)
        if call.refused:
            call.stand, call.status = Stand.OVER, 409 if call.refused == "variable_taken" else 400
            for name in call.outputs if call.status == 400 else ():
                if name not in session.variables and session.is_free(name, call):
                    session.variables[name] = Variable(call.number, "failed", is_list=name in call.lists)
        else:
            session.declare(call)
        self.wake(session)

    def left(self, call: Call, lingers: bool) -> None:
        """Its last client left: the call ends, unless it has a key, or somebody waits for what it produces.

        `lingers` if it was seen to go on: for some seconds a gateway goes by those who waited a moment ago.
        """
        if call.stand is Stand.OVER or call.left:
            return
        call.left = True
        if call.spec.keyed or self._is_wanted(call, lingers):
            call.orphan_until_s = self.now_s + ORPHAN_S
        else:
            self.ended(call, 499)

    def back(self, call: Call) -> None:
        """A client is there again."""
        call.left, call.orphan_until_s = False, None

    def put(self, tenant: str, session: str, name: str, text: str) -> int:
        """Set a variable from outside: 201 or 409."""
        run = self.session(tenant, session)
        held = run.find(name)
        if held.state not in ("unknown", "failed"):
            return 201 if (held.producer, held.text) == (OUTSIDE, text) else 409
        run.variables[name] = Variable(OUTSIDE, "value", text)
        self.wake(run)
        return 201

    def cancel(self, tenant: str, session: str) -> None:
        """Fail what has a producer and no value, end the session's calls on every gateway."""
        run = self.session(tenant, session)
        for variable in run.variables.values():
            if variable.state == "declared":
                variable.state = "failed"
        for call in run.calls:
            if call.stand is not Stand.OVER:
                self._over(call, 409)
        self.wake(run)

    # What workers do

    def items_said(self, call: Call, text: str, items: int) -> None:
        """Its worker has written so many items of its list."""
        session = self.session_of(call)
        for name, transform in call.outputs.items():
            found = items_in(cut(transform, text) or "") or [] if transform == "list" else []
            session.commit(call, {f"{name}.{at}": item for at, item in enumerate(found[:items])})
        self.wake(session)

    def answered(self, call: Call, text: str) -> None:
        """Its worker replied in full. What is a list has all its items before anything else is looked at."""
        self.items_said(call, text, len(text))
        session, owner = self.session_of(call), call.parent or call
        values = {name: cut(transform, text) for name, transform in call.outputs.items()}
        whole = {name: value for name, value in values.items() if value is not None}
        call.said = text
        if len(whole) < len(values) or not session.commit(owner, whole):
            session.fail(owner)
        self.ended(call, 200)

    def ended(self, call: Call, status: int) -> None:
        """It is over, with no value for what has none. An item that failed takes its map along."""
        if call.parent is None:
            self._over(call, status)
        else:
            call.stand, call.status = Stand.OVER, status
            if status != 200 and call.parent.stand is not Stand.OVER:
                self._over(call.parent, 599)
        self.wake(self.session_of(call))

    def prompt(self, call: Call) -> str:
        """What its worker must get."""
        session = self.session_of(call)
        values = {name: session.find(name).text for name in call.spec.inputs}
        if call.parent is not None:
            values[call.spec.over or ""] = call.item
        return " ".join([call.mark, *(values[name] for name in call.placeholders)])

    # What follows

    def wake(self, session: Session) -> None:
        """Whoever's names are all there is ready; whoever's never will be is over; and so on down the graph."""
        looks = {Stand.PARKED: self._look, Stand.MAPPING: self._map}
        waiting = [call for call in session.calls if call.stand in looks]
        while any(looks[call.stand](session, call) for call in waiting if call.stand in looks):
            pass
        for call in waiting:
            self._blame(session, call)

    def _blame(self, session: Session, call: Call) -> None:
        """What failed together may each be the cause; past the end of a list there is none."""
        found = [session.find(name) for name in call.names if name not in call.followed]
        if call.status == 424 and all(variable.state != "past_end" for variable in found):
            call.failed_by = frozenset(variable.producer for variable in found if variable.state == "failed")

    def _look(self, session: Session, call: Call) -> bool:
        names = [name for name in call.names if name not in call.followed and name != call.spec.over]
        found = {name: session.find(name) for name in names}
        if self._fails_of(call, found):
            return True
        call.followed |= {name for name in call.spec.after if name in found and session.is_over(name)}
        inputs = [found[name].state for name in call.spec.inputs if name != call.spec.over]
        if call.followed != set(call.spec.after) or any(state != "value" for state in inputs):
            return False
        call.stand = Stand.READY if call.spec.over is None else Stand.MAPPING
        call.deadline_s = self.now_s + INPUT_S
        return True

    def _fails_of(self, call: Call, found: dict[str, Variable]) -> bool:
        """Whether something it waits for never will be."""
        fails = any(variable.state in ("failed", "past_end") for variable in found.values())
        if fails:
            self._over(call, 424)
        return fails

    def _map(self, session: Session, call: Call) -> bool:
        """Begin what items there are; end it once all have ended, or the list proves to be none."""
        over = call.spec.over or ""
        whole = session.find(over)
        if self._fails_of(call, {over: whole}):
            return True
        items, complete = session.items(over)
        if complete and items_in(whole.text) is None:
            self._over(call, 424)
            return True
        fresh = [Call(call.number, call.spec, call.gateway, call, at, item) for at, item in enumerate(items)]
        for item in fresh[len(call.items) :]:
            item.stand = Stand.READY
            call.items.append(item)
        if not complete or any(item.stand is not Stand.OVER for item in call.items):
            return False
        values = [[cut(how, item.said or "") or "" for item in call.items] for how in call.spec.outputs.values()]
        session.commit(call, dict(zip(call.spec.outputs, map(list_text, values), strict=True)))
        self._over(call, 200)
        return True

    def _over(self, call: Call, status: int) -> None:
        call.stand, call.status, call.orphan_until_s = Stand.OVER, status, None
        for item in call.items:
            if item.stand is not Stand.OVER:
                item.stand, item.status = Stand.OVER, status
        self.session_of(call).fail(call)

    def _is_wanted(self, call: Call, lingers: bool) -> bool:
        """Whether a call waits for something it produces, or (if it `lingers`) any ever did."""
        others = [other for other in self.session_of(call).calls if other is not call]
        readers = [other for other in others if any(self._reads(name, call) for name in other.names)]
        return bool(readers) and (lingers or any(self._waits_for(other, call) for other in readers))

    def _waits_for(self, other: Call, call: Call) -> bool:
        if other.stand is Stand.MAPPING:
            return self._reads(other.spec.over or "", call)
        names = [name for name in other.names if name != other.spec.over]
        return other.stand is Stand.PARKED and any(self._reads(name, call) for name in names)

    def _reads(self, name: str, call: Call) -> bool:
        return any(name in (output, *(f"{output}.{at}" for at in range(4))) for output in call.outputs)

    def is_open(self, call: Call) -> bool:
        """Whether a map waits for more of its list."""
        return call.stand is Stand.MAPPING and self.session_of(call).find(call.spec.over or "").state != "value"

    def pass_time(self, seconds: float) -> None:
        """Orphans are given up, and who has waited too long is told so, in order of time."""
        until_s = self.now_s + seconds
        while (due := self._next_due()) is not None and due[0] <= until_s:
            self.now_s, call = due
            if call.orphan_until_s is None or call.orphan_until_s > self.now_s:
                self.ended(call, 424)
            elif self._is_wanted(call, lingers=not self._is_gone(call)):
                call.orphan_until_s = self.now_s + LOOK_AGAIN_S
            else:
                self.ended(call, 499)
        self.now_s = until_s

    def _next_due(self) -> tuple[float, Call] | None:
        due = [(c.deadline_s, c) for c in self.calls if c.stand is Stand.PARKED or self.is_open(c)]
        due += [(c.orphan_until_s, c) for c in self.calls if c.orphan_until_s is not None]
        return min(due, key=lambda each: each[0], default=None)
