"""World and model must agree: each call is parked, at work or over as the model says, and over with that status.

Each worker's prompt holds exactly the values that the model computed, and each variable stands as in the model. At
the end, once all workers have answered and the longest wait is over, every call has ended and the gateways hold
nothing.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from contextlib import AsyncExitStack
from itertools import pairwise
from typing import TypeVar

from hypothesis.stateful import RuleBasedStateMachine

from gateway.store.variable import State
from tests.programs.clock import VirtualLoop
from tests.programs.engine import Attempt
from tests.programs.exchange import Exchange
from tests.programs.model import Call, Model, Stand
from tests.programs.world import INPUT_S, World, run_world

NAMES = ("a", "b", "c", "d", "e", "f")
STATES = {State.DECLARED: "declared", State.VALUE: "value", State.FAILED: "failed"}
T = TypeVar("T")


class Agreement(RuleBasedStateMachine):
    """A world, its model, and what they must agree on. Subclasses make the moves."""

    gateways = 1
    url: str | None = None

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=VirtualLoop)
        self.stack = AsyncExitStack()
        self.model = Model()
        self.sent: dict[int, Exchange] = {}
        self.by_call_id: dict[str, int] = {}
        self.seen_attempts = 0
        self.tries: dict[int, int] = {}
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
        return self.model.calls[int(found.group(1))]

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
        self.check_variables()
        self.check_counts()
        self.sound = True

    def note_calls(self) -> None:
        """Which id is which call: causes speak of ids."""
        for number, exchange in self.sent.items():
            if "x-workflow-call" in exchange.headers:
                self.by_call_id[exchange.headers["x-workflow-call"]] = number
        for gateway in self.world.gateways:
            for call_id, call in gateway.dispatcher._live.items():
                found = re.search(rb"<(\d+) ", call.request.raw)
                assert found is not None
                self.by_call_id[call_id] = int(found.group(1))

    def note_attempts(self) -> None:
        for attempt in self.world.attempts[self.seen_attempts :]:
            call = self.call_of(attempt)
            self.tries[call.number] = self.tries.get(call.number, 0) + 1
            assert self.tries[call.number] <= 3
            assert not call.refused
            assert attempt.text == self.model.prompt(call), "a worker got another prompt than it must"
        self.seen_attempts = len(self.world.attempts)

    def check_call(self, call: Call) -> None:
        exchange = self.sent[call.number]
        at_work = [a for a in self.world.at_workers() if self.call_of(a) is call]
        over = call.stand is Stand.OVER
        assert exchange.ended == over, f"{call} should {'' if over else 'not '}be over: {exchange.body!r}"
        assert len(at_work) <= (call.stand is Stand.READY), f"{call} is at {len(at_work)} workers"
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
        elif call.status == 599:
            assert exchange.status in (502, 503, 504), exchange.body
        else:
            also = 424 if call.status == 409 and call.names else 0
            """A cancelled call that waited may hear first that what it waits for was cancelled."""
            assert exchange.status in (call.status, also), f"{call}: {exchange.status} {exchange.body!r}"
        if call.status == 424 and call.failed_by:
            self.check_causes(call, exchange)

    def check_causes(self, call: Call, exchange: Exchange) -> None:
        """The chain begins with a call whose output this one lists, and each link is behind the one before."""
        message = exchange.error["message"]
        if exchange.error["code"] == "input_timeout":
            assert self.model.now_s >= call.deadline_s, message
            return
        chain = [self.by_call_id.get(call_id) for call_id in re.findall(r"\(call ([\w-]+)\)", message)]
        assert chain, message
        assert chain[0] in call.failed_by, (message, call)
        for number, behind in pairwise(chain):
            assert number is not None
            assert behind in self.model.calls[number].failed_by, message
        origin = None if chain[-1] is None else self.model.calls[chain[-1]]
        assert origin is None or not origin.failed_by or origin.status != 424, f"not the first cause: {message}"

    def check_variables(self) -> None:
        for (tenant, session), run in self.model.runs.items():
            found = self.run(self.world.read(tenant, session, NAMES))
            for name, variable in found.items():
                known = run.variables.get(name)
                state = STATES.get(variable.state)
                assert state == (known.state if known else None), f"{tenant}/{session}/{name}: {variable} {known}"
                if state == "value":
                    assert variable.value is not None
                    assert known is not None
                    assert variable.value.text == known.text

    def check_counts(self) -> None:
        left_over = self.now(self.world.left_over)
        count = {stand: sum(call.stand is stand for call in self.model.calls) for stand in Stand}
        assert left_over.get("parked", 0) == count[Stand.PARKED]
        assert left_over.get("live", 0) == count[Stand.PARKED] + count[Stand.READY]
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
        for exchange in self.sent.values():
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
        assert all(call.stand is Stand.OVER for call in self.model.calls)
        assert not self.world.immortal_keys()
