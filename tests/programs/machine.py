"""The test's moves: each is made in the world and told to the model, and then the two must agree.

Programs of some calls in random order; then workers that answer, refuse, stream and break, clients that leave,
values from outside, cancelled sessions, more calls, and time that passes.
"""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from engines.base import Disconnected, Unreachable
from tests.programs.agreement import NAMES, Agreement
from tests.programs.engine import FIRST_PIECE, STREAM, WHOLE, Attempt, rest_of_stream, whole_reply
from tests.programs.model import TRANSFORMS, Call, Stand
from tests.programs.world import REPLICAS_SETTLE_S, TENANTS, WORKERS

STEPS = ("s", "t")
SESSIONS = ("run", "run", "run", "other")
names = st.lists(st.sampled_from(NAMES), max_size=2, unique=True)
outputs = st.dictionaries(st.sampled_from(NAMES), st.sampled_from(["text", "text", *TRANSFORMS]), max_size=2)
picks = st.integers(0, 15)
APART_S = 0.01
"""Between two calls, so that no two of them run out of time at once."""
specs = st.tuples(
    st.sampled_from(("acme", *TENANTS)),
    st.sampled_from(SESSIONS),
    names,
    st.lists(st.sampled_from((*STEPS, *NAMES)), max_size=1),
    outputs,
    st.sampled_from(STEPS),
    st.booleans(),
    picks,
)
"""Tenant, session, inputs, what it follows, outputs and their transforms, step, whether it streams, gateway."""


class Programs(Agreement):
    """Whole programs against the model. Subclasses say on how many gateways, and on which store."""

    # The moves

    @initialize(sent=st.lists(specs, min_size=2, max_size=8))
    def begin(self, sent) -> None:
        """A client sends a program, in any order."""
        for spec in sent:
            self.submit_one(*spec)

    @rule(spec=specs)
    def submit(self, spec) -> None:
        """A client sends one more call; a failed one is sent again so, too."""
        self.submit_one(*spec)

    def submit_one(self, tenant, session, inputs, after, outputs, step, stream, gateway) -> None:
        if not (inputs or outputs or after):
            outputs = {"a": "text"}
        after = [name for name in after if name not in inputs]
        number, gateway = len(self.model.calls), gateway % self.gateways
        call = Call(number, tenant, session, gateway, step, tuple(inputs), tuple(after), outputs, stream)
        self.model.submit(call)
        headers = {"x-workflow-session": session, "x-workflow-step": step}
        headers |= {"x-workflow-inputs": ", ".join(inputs)} if inputs else {}
        headers |= {"x-workflow-after": ", ".join(after)} if after else {}
        line = ", ".join(f"{name}{TRANSFORMS[transform]}" for name, transform in outputs.items())
        headers |= {"x-workflow-outputs": line} if outputs else {}
        self.sent[number] = self.now(lambda: self.world.chat(gateway, tenant, headers, call.text, stream))
        self.agree()
        self.wait(APART_S)

    @rule(pick=picks, digits=st.booleans(), with_json=st.booleans())
    def answer(self, pick, digits, with_json) -> None:
        """A worker answers in full; whether transforms match is chance."""
        for attempt, call in self.at_work(pick):
            self.answer_in_full(attempt, call, digits, with_json)

    def answer_in_full(self, attempt: Attempt, call: Call, digits: bool, with_json: bool) -> None:
        self.replies += 1
        mark = "".join(chr(97 + int(digit)) for digit in str(self.replies))
        text = f"{call.tenant} {mark}" + (f" {self.replies}" if digits else "")
        text += f' {{"x": "j{mark}"}}' if with_json else ""
        if call.stream:
            self.begin_stream(attempt, call)
            attempt.give(*rest_of_stream(text), b"")
        else:
            attempt.open(200, WHOLE)
            attempt.give(whole_reply(text), b"")
        self.model.answered(call, text)
        self.agree()

    @rule(pick=picks)
    def start_streaming(self, pick) -> None:
        """A worker sends the first piece of a stream."""
        for attempt, call in self.at_work(pick):
            if call.stream:
                self.begin_stream(attempt, call)
                self.agree()

    @rule(pick=picks, status=st.sampled_from([400, 500, 503]))
    def answer_with_an_error(self, pick, status) -> None:
        """A worker refuses a call, or has failed at it."""
        for attempt, call in self.at_work(pick):
            if not call.begun:
                self.refuse(attempt, call, status)

    def refuse(self, attempt: Attempt, call: Call, status: int) -> None:
        with self.ejections() as ejected:
            attempt.open(status, WHOLE)
            attempt.give(b'{"error": {"message": "no"}}', b"")
            self.run(self.world.loop.settle())
        self.model.ended(call, status)
        self.moved(ejected)
        self.agree()

    @rule(pick=picks, unreachable=st.booleans())
    def die(self, pick, unreachable) -> None:
        """A worker's connection breaks: before the first byte another worker tries, later the call has failed."""
        for attempt, call in self.at_work(pick):
            self.break_off(attempt, call, unreachable)

    def break_off(self, attempt: Attempt, call: Call, unreachable: bool) -> None:
        with self.ejections() as ejected:
            if unreachable and not call.begun:
                attempt.break_off(Unreachable("refused"))
            else:
                attempt.break_off(Disconnected("broken"))
            self.run(self.world.loop.settle())
        if call.begun:
            self.model.ended(call, 200)
        else:
            self.tried_again(call, limit=3 if unreachable else 2)
        self.moved(ejected, but=call)
        self.agree()

    @rule(pick=picks)
    def leave(self, pick) -> None:
        """A client closes its connection."""
        if self.model.calls:
            call = self.model.calls[-1 - pick % len(self.model.calls)]
            exchange = self.sent[call.number]
            self.now(exchange.leave)
            self.run(self.world.loop.settle())
            self.model.left(call, lingers=not exchange.ended)
            self.agree()

    @rule(
        tenant=st.sampled_from(TENANTS),
        session=st.sampled_from(SESSIONS),
        name=st.sampled_from(NAMES),
        text=st.sampled_from(["{{a}}", "put 7"]),
        gateway=picks,
    )
    def put(self, tenant, session, name, text, gateway) -> None:
        """A variable is set from outside."""
        path = f"/v1/workflow/sessions/{session}/variables/{name}"
        answer = self.ask(gateway, tenant, "PUT", path, text.encode())
        assert answer.status == self.model.put(tenant, session, name, text)
        self.agree()

    @rule(tenant=st.sampled_from(TENANTS), session=st.sampled_from(SESSIONS), gateway=picks)
    def cancel(self, tenant, session, gateway) -> None:
        """A session is cancelled. Not on a real Redis, by whose clock it ages."""
        if self.url is not None:
            return
        answer = self.ask(gateway, tenant, "POST", f"/v1/workflow/sessions/{session}/cancel")
        assert answer.status == 200
        self.model.cancel(tenant, session)
        self.wait(REPLICAS_SETTLE_S)

    @rule(seconds=st.sampled_from([1.0, 19.0, 31.0]))
    def pass_time(self, seconds) -> None:
        """Nobody does anything for a while."""
        self.wait(seconds)

    # What the moves are made of

    def at_work(self, pick: int) -> list[tuple[Attempt, Call]]:
        """One of the calls at workers, or none."""
        busy = self.world.at_workers()
        return [(attempt, self.call_of(attempt)) for attempt in busy[pick % len(busy) :][:1]] if busy else []

    def begin_stream(self, attempt: Attempt, call: Call) -> None:
        if not call.begun:
            attempt.open(200, STREAM)
            attempt.give(FIRST_PIECE)
            call.begun = True

    def ejections(self) -> Ejections:
        return Ejections(self)

    def tried_again(self, call: Call, limit: int) -> None:
        """After an attempt that broke before its first byte: tried elsewhere, or out of attempts."""
        ended = self.sent[call.number].ended
        if self.tries[call.number] >= limit:
            assert ended, "more attempts than there may be"
        elif self.tries[call.number] == 1:
            assert not ended, "not tried again"
        if ended:
            self.model.ended(call, 599)

    def moved(self, ejected: list[Call], but: Call | None = None) -> None:
        """Calls of a worker that was ejected go elsewhere."""
        for call in ejected:
            if call is not but and call.stand is Stand.READY:
                self.tried_again(call, limit=2)

    def answer_all(self) -> None:
        """See `Agreement`."""
        while self.world.at_workers():
            self.answer(0, True, True)


class Ejections:
    """The calls that a worker holds without a byte for their clients, if it is ejected meanwhile."""

    def __init__(self, machine: Programs) -> None:
        self.machine = machine

    def __enter__(self) -> list[Call]:
        world = self.machine.world
        self.before = self._counts()
        self.held = [(a.worker, self.machine.call_of(a)) for a in world.at_workers()]
        self.calls: list[Call] = []
        return self.calls

    def __exit__(self, *_: object) -> None:
        after = self._counts()
        for worker, call in self.held:
            key = (call.gateway, worker)
            if after[key] > self.before[key] and not call.begun:
                self.calls.append(call)

    def _counts(self) -> dict[tuple[int, str], int]:
        gateways = enumerate(self.machine.world.gateways)
        return {(number, name): gateway.fleet[name].ejections for number, gateway in gateways for name in WORKERS}
