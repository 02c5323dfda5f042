"""The test's moves: each is made in the world and told to the model, and then the two must agree.

A program in any order; then workers that answer, refuse, stream and break, clients that leave and come again,
values from outside, cancelled sessions, more calls, and time that passes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from engines.base import Disconnected, Unreachable
from gateway.failed_attempts import MAX_EVICTIONS
from tests.programs.agreement import Agreement
from tests.programs.call import Call, Spec, Stand
from tests.programs.engine import END_OF_STREAM, FIRST_PIECE, STREAM, WHOLE, Attempt, said, whole_reply
from tests.programs.exchange import Exchange
from tests.programs.shapes import NAMES, picks, programs, strays
from tests.programs.world import REPLICAS_SETTLE_S, TENANTS, WORKERS

APART_S = 0.01
"""Between two calls, so that no two of them run out of time at once."""
T = TypeVar("T")
PUT = ("{{a}}", "put 7", '["pa", "pb"]')


class Programs(Agreement):
    """Whole programs against the model. Subclasses say on how many gateways, and on which store."""

    # What clients do

    @initialize(sent=programs())
    def begin(self, sent: list[Spec]) -> None:
        """A client sends a program, in any order."""
        for spec in sent:
            self.submit_one(spec)

    @rule(sent=programs())
    def send_another(self, sent: list[Spec]) -> None:
        """A few calls of another program, that may go on with the first or clash with it."""
        for spec in sent[:3]:
            self.submit_one(spec)

    @rule(spec=strays)
    def submit(self, spec: Spec) -> None:
        """A client sends one more call; a failed one is sent again so, too."""
        self.submit_one(spec)

    def submit_one(self, spec: Spec) -> None:
        call = Call(len(self.model.calls), spec, spec.gateway % self.gateways)
        if self.model.session_of(call).refuses(call) == "variable_taken":
            call.spec = replace(spec, keyed=False)  # with a key it waits some seconds for the other to be gone
        self.model.submit(call)
        self.sent[call.number] = self.send(call, call.gateway)
        self.agree()
        self.wait(APART_S)

    def send(self, call: Call, gateway: int) -> Exchange:
        spec = call.spec
        return self.now(lambda: self.world.chat(gateway, spec.tenant, call.headers, call.text, spec.stream))

    @rule(pick=picks, gateway=picks)
    def send_again(self, pick: int, gateway: int) -> None:
        """A client sends a request again that has a key: while its call runs, or when that has its reply."""
        calls = [call for call in self.model.calls if call.spec.keyed and not self.is_over_for_bad(call)]
        if calls:
            call = calls[-1 - pick % len(calls)]
            is_over = call.stand is Stand.OVER
            self.again.append((call, self.send(call, gateway % self.gateways if is_over else call.gateway)))
            if not is_over:
                self.model.back(call)
            self.agree()

    def is_over_for_bad(self, call: Call) -> bool:
        """Whether a request sent again would be another call."""
        return call.stand is Stand.OVER and (call.status != 200 or (call.said is None and call.spec.over is None))

    @rule(pick=picks)
    def leave(self, pick: int) -> None:
        """A client closes its connection; often one of two that wait for the same call."""
        clients = [*((self.model.calls[n], exchange) for n, exchange in self.sent.items()), *self.again]
        shared = [(call, exchange) for call, exchange in self.again if call.stand is not Stand.OVER]
        call, exchange = prefer(pick, shared, clients)[0]
        self.now(exchange.leave)
        self.run(self.world.loop.settle())
        if all(other.left or other.ended for each, other in clients if each is call):
            self.model.left(call, lingers=not self.sent[call.number].ended)
        self.agree()

    @rule(tenant=st.sampled_from(("acme", *TENANTS)), pick=picks, text=st.sampled_from(PUT), gateway=picks)
    def put(self, tenant: str, pick: int, text: str, gateway: int) -> None:
        """A variable is set from outside; often one that has a producer."""
        known = self.model.session(tenant, "run").variables
        name = prefer(pick, [name for name in known if known[name].state == "declared"], NAMES)[0]
        path = f"/v1/workflow/sessions/run/variables/{name}"
        answer = self.ask(gateway, tenant, "PUT", path, text.encode())
        assert answer.status == self.model.put(tenant, "run", name, text)
        self.agree()

    @rule(pick=picks, is_meant=st.sampled_from((True, False, False, False)), gateway=picks)
    def cancel(self, pick: int, is_meant: bool, gateway: int) -> None:
        """A session is cancelled, or else one that nobody has. Not on a real Redis, by whose clock it ages."""
        if self.url is not None:
            return
        tenant, session = prefer(pick, [], list(self.model.sessions))[0]
        session = session if is_meant else "none"
        answer = self.ask(gateway, tenant, "POST", f"/v1/workflow/sessions/{session}/cancel")
        assert answer.status in (200, 404)
        self.model.cancel(tenant, session)
        self.wait(REPLICAS_SETTLE_S)

    @rule(seconds=st.sampled_from([0.5, 1.0, 2.0, 7.0, 31.0, 41.0]))
    def pass_time(self, seconds: float) -> None:
        """Nobody does anything for a while."""
        self.wait(seconds)

    # What workers do

    @rule(order=st.lists(picks, min_size=1, max_size=4), digits=st.booleans(), items=st.integers(-1, 3))
    def answer_some(self, order: list[int], digits: bool, items: int) -> None:
        """Workers answer in full, one after the other; whether transforms match is chance."""
        for pick in order:
            self.answer(pick, digits, items)

    @rule(order=st.lists(picks, min_size=1, max_size=6), first=st.integers(0, 3))
    def answer_well(self, order: list[int], first: int) -> None:
        """Workers answer so that every transform matches; of a list perhaps the first items only, as yet."""
        for pick in order:
            for attempt, call in self.at_work(pick):
                if first and "list" in call.outputs.values() and not call.planned:
                    self.write_items(attempt, call, first)
                else:
                    self.answer_in_full(attempt, call, call.planned or self.reply(call, True, 2))

    answer_more = answer_again = answer_further = answer_well
    """A move by several names is made so much more often."""
    answer_others = answer_some

    def answer(self, pick: int, digits: bool, items: int) -> None:
        """`items` is how many the reply's list has; there is no JSON in it with -1."""
        for attempt, call in self.at_work(pick):
            self.answer_in_full(attempt, call, call.planned or self.reply(call, digits, items))

    def write_items(self, attempt: Attempt, call: Call, items: int) -> None:
        """A worker writes the first items of a list, and thinks about the next."""
        call.planned = self.reply(call, True, 3)
        end = [found.end() for found in re.finditer(r'"[],]', call.planned)][items]
        self.begin_stream(attempt, call)
        attempt.say(call.planned[:end])
        self.model.items_said(call, call.planned, items)
        self.agree()

    def reply(self, call: Call, digits: bool, items: int) -> str:
        """What a worker says: never the same twice."""
        self.replies += 1
        mark = "".join(chr(97 + int(digit)) for digit in str(self.replies))
        text = f"{call.spec.tenant} {mark}" + (f" {self.replies}" if digits else "")
        listed = [f"{mark} {chr(120 + at)}" for at in range(items)]
        return text if items < 0 else f'{text} {{"x": "j{mark}", "l": {json.dumps(listed)}}}'

    def answer_in_full(self, attempt: Attempt, call: Call, text: str) -> None:
        if attempt.streams:
            self.begin_stream(attempt, call)
            left = text[len(attempt.continues) + attempt.said_chars :]
            attempt.give(*said(left), *END_OF_STREAM)
        else:
            attempt.open(200, WHOLE)
            attempt.give(whole_reply(text), b"")
        self.model.answered(call, text)
        self.agree()

    @rule(pick=picks)
    def start_streaming(self, pick: int) -> None:
        """A worker sends the first piece of a stream."""
        for attempt, call in self.at_work(pick):
            if attempt.streams:
                self.begin_stream(attempt, call)
                self.agree()

    @rule(pick=picks, status=st.sampled_from([400, 500, 503]))
    def answer_with_an_error(self, pick: int, status: int) -> None:
        """A worker refuses a call, or has failed at it."""
        fresh = [each for each in self.busy() if not each[0].head.done()]
        for attempt, call in prefer(pick, [each for each in fresh if each[1].parent is not None], fresh):
            self.refuse(attempt, call, status)

    def refuse(self, attempt: Attempt, call: Call, status: int) -> None:
        attempt.open(status, WHOLE)
        attempt.give(b'{"error": {"message": "no"}}', b"")
        self.run(self.world.loop.settle())
        self.model.ended(call, status)
        self.agree()

    @rule(pick=picks, unreachable=st.booleans(), well=st.booleans())
    def die(self, pick: int, unreachable: bool, well: bool) -> None:
        """A worker's connection breaks: before the first byte another worker tries, later the call has failed.

        Of one that is not well, and is ejected, all calls move that have no first byte.
        """
        for attempt, call in prefer(pick, [each for each in self.busy() if each[0].said_chars], self.busy()):
            self.break_off(attempt, call, unreachable and not attempt.head.done(), well)

    def break_off(self, attempt: Attempt, call: Call, unreachable: bool, well: bool) -> None:
        with self.ejections(well) as evicted:
            attempt.break_off(Unreachable("refused") if unreachable else Disconnected("broken"))
            self.run(self.world.loop.settle())
        if call.begun:
            self.model.ended(call, 200)
        else:
            self.tried_again(call, limit=3 if unreachable else 2)
        for each in evicted:
            if each is not call and each.stand is Stand.READY:
                self.moved(each)
        self.agree()

    # What the moves are made of

    def at_work(self, pick: int) -> list[tuple[Attempt, Call]]:
        """One of the calls at workers, or none."""
        return prefer(pick, [], self.busy())

    def busy(self) -> list[tuple[Attempt, Call]]:
        """What workers are asked to do."""
        return [(attempt, self.call_of(attempt)) for attempt in self.world.at_workers()]

    def begin_stream(self, attempt: Attempt, call: Call) -> None:
        """A client that asked for no stream has its first byte with the last."""
        if not attempt.head.done():
            attempt.open(200, STREAM)
            attempt.give(FIRST_PIECE)
            call.begun = call.spec.stream

    def ejections(self, well: bool) -> Ejections:
        return Ejections(self, well)

    def tried_again(self, call: Call, limit: int) -> None:
        """After an attempt that broke before its first byte: tried elsewhere, or out of attempts."""
        ended = self.sent[call.number].ended
        if self.tries[call] - self.evictions[call] >= limit:
            assert ended, "more attempts than there may be"
        elif self.tries[call] == 1:
            assert not ended, "not tried again"
        if ended:
            self.model.ended(call, 599)

    def moved(self, call: Call) -> None:
        """A call of a worker that was ejected goes elsewhere, and has as many attempts as before."""
        self.evictions[call] += 1
        ended = self.sent[call.number].ended
        assert ended == (self.evictions[call] > MAX_EVICTIONS), f"{call} was evicted"
        if ended:
            self.model.ended(call, 599)

    def answer_all(self) -> None:
        """See `Agreement`."""
        while self.world.at_workers():
            self.answer(0, True, 2)


def prefer(pick: int, rare: Sequence[T], usual: Sequence[T]) -> list[T]:
    """One of the rare, if there are any, two times out of three; else of the usual, the latest first; or none."""
    of = rare if rare and pick % 3 else usual
    return [of[-1 - pick // 3 % len(of)]] if of else []


class Ejections:
    """The calls that a worker holds without a byte for their clients, if it is ejected meanwhile and not well."""

    def __init__(self, machine: Programs, well: bool) -> None:
        self.machine = machine
        self.well = well

    def __enter__(self) -> list[Call]:
        world = self.machine.world
        self._set_well(self.well)
        self.before = self._counts()
        self.held = [(a.worker, self.machine.call_of(a)) for a in world.at_workers()]
        self.calls: list[Call] = []
        return self.calls

    def __exit__(self, *_: object) -> None:
        after = self._counts()
        self._set_well(True)
        for worker, call in self.held:
            key = (call.gateway, worker)
            if after[key] > self.before[key] and not self.well and not call.begun:
                self.calls.append(call)

    def _set_well(self, well: bool) -> None:
        for gateway in self.machine.world.gateways:
            for name in WORKERS:
                gateway.fleet[name].engine.well = well  # type: ignore[attr-defined]

    def _counts(self) -> dict[tuple[int, str], int]:
        gateways = enumerate(self.machine.world.gateways)
        return {(number, name): gateway.fleet[name].ejections for number, gateway in gateways for name in WORKERS}
