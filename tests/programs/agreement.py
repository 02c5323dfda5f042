"""World and model must agree: each call is parked, at work or over as the model says, and over with that status.

Each worker's prompt holds exactly the values that the model computed, and each variable stands as in the model. At
the end, once all workers have answered and the longest wait is over, every call has ended and the gateways hold
nothing.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from itertools import pairwise
from typing import TypeVar

from hypothesis.stateful import RuleBasedStateMachine

from gateway.failed_attempts import MAX_ATTEMPTS
from gateway.store.variable import State
from tests.programs.call import Call, Stand
from tests.programs.clock import VirtualLoop
from tests.programs.engine import Attempt
from tests.programs.exchange import Exchange
from tests.programs.model import Model
from tests.programs.shapes import ITEMS, NAMES
from tests.programs.world import INPUT_S, World, run_world

STATES = {
    State.UNKNOWN: "unknown",
    State.DECLARED: "declared",
    State.VALUE: "value",
    State.FAILED: "failed",
    State.PAST_END: "past_end",
}
T = TypeVar("T")


def call_of_item(call_id: str) -> str:
    """The map that a call is an item of, or the call itself."""
    return call_id.partition(".")[0]


class Agreement(RuleBasedStateMachine):
    """A world, its model, and what they must agree on. Subclasses make the moves."""

    gateways = 1
    url: str | None = None

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=VirtualLoop)
        self.stack = AsyncExitStack()
        self.model = Model(lambda call: self.sent[call.number].ended)
        self.sent: dict[int, Exchange] = {}
        self.again: list[tuple[Call, Exchange]] = []
        """Requests that were sent once more."""
        self.by_call_id: dict[str, int] = {}
        self.call_ids: dict[int, str] = {}
        self.seen_attempts = 0
        self.tries: Counter[Call] = Counter()
        self.evictions: Counter[Call] = Counter()
        """Of the tries those that ended since their worker was ejected."""
        self.replies = 0
        self.sound = True
        self.world: World = self.runner.run(self._start())

    async def _start(self) -> World:
        return await self.stack.enter_async_context(run_world(self.gateways, self.url))

    def run(self, coroutine):
        return self.runner.run(coroutine)

    def now(self, act: Callable[[], T]) -> T:
        """Do something on the loop."""

        async def work() -> T:
            return act()

        return self.run(work())

    def ask(self, gateway: int, tenant: str, method: str, path: str, body: bytes = b"") -> Exchange:
        """One request of the control routes, to its end."""

        async def work() -> Exchange:
            headers = {"content-type": "text/plain"}
            exchange = self.world.request(gateway % self.gateways, tenant, method, path, headers, body)
            await self.world.loop.outside(exchange.task)
            return exchange

        return self.run(work())

    def call_of(self, attempt: Attempt) -> Call:
        found = re.match(r"<(\d+) ", attempt.text)
        assert found is not None
        call = self.model.calls[int(found.group(1))]
        return call if call.spec.over is None else call.items[int(attempt.call_id.rpartition(".")[2])]

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.run(self.world.pass_time(seconds))
        self.model.pass_time(seconds)
        self.agree()

    def agree(self) -> None:
        """Let the world come to rest, and compare it with the model."""
        self.sound = False
        passed_s = self.run(self.world.settle())
        self.model.pass_time(passed_s)
        self.note_calls()
        self.note_attempts()
        for call in self.model.calls:
            self.check_call(call)
        for call, exchange in self.again:
            self.check_again(call, exchange)
        self.check_variables()
        self.check_counts()
        self.sound = True

    def note_calls(self) -> None:
        """Which id is which call: causes speak of ids."""
        for number, exchange in self.sent.items():
            if "x-workflow-call" in exchange.headers:
                self.note_id(exchange.headers["x-workflow-call"], number)
        for gateway in self.world.gateways:
            for call_id, call in gateway.dispatcher._live.items():
                found = re.search(rb"<(\d+) ", call.request.raw)
                assert found is not None
                self.note_id(call_id, int(found.group(1)))

    def note_id(self, call_id: str, number: int) -> None:
        whole = call_of_item(call_id)
        assert self.call_ids.setdefault(number, whole) == whole, "one request is two calls"
        self.by_call_id[whole] = number

    def note_attempts(self) -> None:
        for attempt in self.world.attempts[self.seen_attempts :]:
            call = self.call_of(attempt)
            self.tries[call] += 1
            assert self.tries[call] <= MAX_ATTEMPTS
            assert not call.refused
            assert attempt.text == self.model.prompt(call), "a worker got another prompt than it must"
            assert call.planned.startswith(attempt.continues)
        self.seen_attempts = len(self.world.attempts)

    def check_call(self, call: Call) -> None:
        exchange = self.sent[call.number]
        over = call.stand is Stand.OVER
        assert exchange.ended == over, f"{call} should {'' if over else 'not '}be over: {exchange.body!r}"
        at_work = Counter(self.call_of(attempt) for attempt in self.world.at_workers())
        for each in (call, *call.items):
            assert at_work[each] <= (each.stand is Stand.READY), f"{each} is at {at_work[each]} workers"
        if not over:
            return
        exchange.task.result()
        if not exchange.left:
            assert exchange.complete
            self.check_reply(call, exchange)

    def check_reply(self, call: Call, exchange: Exchange) -> None:
        if call.begun:
            assert exchange.status == 200
            whole = b"data: [DONE]" in exchange.body
            assert whole != (b'"error"' in exchange.body)
            assert whole == (call.said is not None)
        elif call.status == 599:
            assert exchange.status in (502, 503, 504), exchange.body
        else:
            also = 424 if call.status == 409 and call.names else 0
            """A cancelled call that waited may hear first that what it waits for was cancelled."""
            assert exchange.status in (call.status, also), f"{call}: {exchange.status} {exchange.body!r}"
        if call.status == 200 and (call.said is not None or call.items):
            said = [item.said for item in call.items] if call.items else [call.said]
            assert exchange.text == "\n".join(map(str, said)), f"{call}: {exchange.body!r}"
        if call.refused:
            assert exchange.error["code"] == call.refused, exchange.body
        if call.status == 424 and call.failed_by:
            self.check_causes(call, exchange)

    def check_again(self, call: Call, exchange: Exchange) -> None:
        """Whoever sends a request again gets the reply of the call it became."""
        assert exchange.ended == (call.stand is Stand.OVER or exchange.left)
        if not exchange.ended:
            return
        exchange.task.result()
        if not exchange.left:
            self.check_reply(call, exchange)
            assert exchange.headers["x-workflow-call"] == self.call_ids[call.number]

    def check_causes(self, call: Call, exchange: Exchange) -> None:
        """The chain begins with a call whose output this one lists, and each link is behind the one before."""
        message = exchange.error["message"]
        if exchange.error["code"] == "input_timeout":
            assert self.model.now_s >= call.deadline_s, message
            return
        said = re.findall(r"\(call ([\w.-]+)\):", message)
        chain = [self.by_call_id.get(call_of_item(call_id)) for call_id in said]
        assert chain, message
        assert chain[0] in call.failed_by, (message, call)
        for number, behind in pairwise(chain):
            assert number is not None
            assert behind in self.model.calls[number].failed_by, message
        origin = None if chain[-1] is None else self.model.calls[chain[-1]]
        assert origin is None or not origin.failed_by or origin.status != 424, f"not the first cause: {message}"

    def check_variables(self, unknown: bool = False) -> None:
        """`unknown` has those looked at, too, that nobody ever named."""
        for (tenant, session), run in self.model.sessions.items():
            found = self.run(self.world.read(tenant, session, (*NAMES, *ITEMS) if unknown else run.names))
            for name, variable in found.items():
                known = run.find(name)
                assert STATES[variable.state] == known.state, f"{tenant}/{session}/{name}: {variable} {known}"
                assert (variable.value.text if variable.value is not None else "") == known.text

    def check_counts(self) -> None:
        left_over = self.now(self.world.left_over)
        count = Counter(each.stand for call in self.model.calls for each in (call, *call.items))
        waiting = count[Stand.PARKED] + 2 * sum(map(self.model.is_open, self.model.calls))
        assert left_over.get("parked", 0) == waiting, "a map waits for its list and for its next item"
        assert left_over.get("live", 0) == count.total() - count[Stand.OVER]
        running = len(self.world.at_workers())
        assert left_over.get("in flight", 0) == running
        assert running + left_over.get("queued", 0) // 2 == count[Stand.READY], left_over

    def teardown(self) -> None:
        """All workers answer, the longest wait passes: everything has ended, and nothing is left."""
        try:
            if self.sound:
                self.wind_up()
        finally:
            self.run(self.give_up())
            self.run(self.stack.aclose())
            self.runner.close()

    async def give_up(self) -> None:
        """After a disagreement there may be calls left."""
        for exchange in (*self.sent.values(), *(exchange for _, exchange in self.again)):
            exchange.task.cancel()
        await self.world.pass_time(1.0)

    def answer_all(self) -> None:
        """Have the workers answer until nobody asks them any more."""
        raise NotImplementedError

    def wind_up(self) -> None:
        self.answer_all()
        self.wait(INPUT_S + 2)
        self.answer_all()
        left_over = self.now(self.world.left_over)
        assert not left_over, left_over
        self.check_variables(unknown=True)
        assert all(call.stand is Stand.OVER for call in self.model.calls)
        assert not self.world.immortal_keys()
