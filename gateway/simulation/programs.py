"""Which of a program's calls go out when: what each still waits for, and how it stands. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.graph.consumption import MIN_OUTPUT_BYTES
from gateway.graph.node import DeclaredCall
from gateway.graph.program import Changes, ProgramGraph
from gateway.nouns import Standing
from gateway.simulation.intake import LiveCall, reply_text
from gateway.simulation.outcome import ProgramOutcome
from gateway.simulation.prompts import Prompt, text_bytes
from gateway.simulation.work import Mode, PlannedProgram, Reply


class LiveProgram:
    """One run of a program. Mutable."""

    def __init__(self, number: int, plan: PlannedProgram, mode: Mode) -> None:
        self.plan = plan
        self.done_s: float | None = None
        self.failed = False
        self.left = len(plan.calls)
        self.served_s = 0.0
        """Seconds in which a call of it was with the gateway."""
        self._with_gateway = 0
        self._since_s = 0.0
        self._mode = mode
        self._replies = {
            call.step: reply_text(number, index, call.output_tokens) for index, call in enumerate(plan.calls)
        }
        self._ran_on: dict[str, str | None] = {}
        """The workers of the steps that have ended."""
        self._missing = {call.step: len(call.waits_for) for call in plan.calls}
        self._followers: dict[str, list[int]] = {call.step: [] for call in plan.calls}
        for index, call in enumerate(plan.calls):
            for step in call.waits_for:
                self._followers[step].append(index)
        self._together: dict[str, int] = {}
        """By step: how many calls became ready with it."""
        self._graph = ProgramGraph(plan.start_s)
        self._ids = [f"{number}.{index}" for index in range(len(plan.calls))]

    def begin(self) -> list[LiveCall]:
        """All its calls, in the order in which its client sends them where the gateway runs it."""
        return [self._live(index) for index in range(len(self.plan.calls))]

    def declare(self, call: LiveCall) -> Changes:
        """The gateway is told of a call: how others stand now."""
        plan = call.plan
        return self._graph.declare(
            DeclaredCall(call.call_id, plan.objective, plan.step, plan.reads, plan.after, (plan.step,))
        )

    def arrived(self, now_s: float) -> None:
        """One more of its calls is with the gateway."""
        if not self._with_gateway:
            self._since_s = now_s
        self._with_gateway += 1

    def left_gateway(self, now_s: float) -> None:
        """One less."""
        self._with_gateway -= 1
        if not self._with_gateway:
            self.served_s += now_s - self._since_s

    def ended(self, call: LiveCall) -> Iterator[LiveCall]:
        """A call has ended; those that waited for nothing else."""
        self.left -= 1
        self._ran_on[call.plan.step] = call.worker
        ready: list[int] = []
        for index in self._followers[call.plan.step]:
            step = self.plan.calls[index].step
            self._missing[step] -= 1
            if not self._missing[step]:
                ready.append(index)
        readers = [index for index in ready if call.plan.step in self.plan.calls[index].reads]
        self._together.update((self.plan.calls[index].step, len(readers)) for index in readers)
        yield from map(self._live, ready)

    def goes_on_from(self, call: LiveCall) -> str | None:
        """The worker of the last call that its prompt shows it to follow, as `graph/lineage.py` would find it.

        A reply is recognised where it is a turn of the conversation, or is long enough not to be there by chance.
        """
        found = None
        for message in call.plan.messages:
            for piece in message:
                if isinstance(piece, Reply) and (
                    len(message) == 1 or text_bytes(self._replies[piece.step]) >= MIN_OUTPUT_BYTES
                ):
                    found = self._ran_on[piece.step]
        return found

    def queue(self, call: LiveCall) -> Standing | None:
        """How a call stands that is about to be queued."""
        return self._graph.queue(call.call_id) if self._mode is Mode.GATEWAY else None

    @property
    def left_calls(self) -> int:
        """Calls the gateway was told of that have not ended."""
        return len(self._graph)

    def start(self, call: LiveCall) -> None:
        """The call is queued no more."""
        self._graph.start(call.call_id)

    def end(self, call: LiveCall) -> Changes:
        """Its value is there: how others stand now."""
        return self._graph.end(call.call_id)

    def siblings(self, call: LiveCall) -> int:
        """How many calls became ready with it by the value that it missed last, it among them."""
        return self._together.get(call.plan.step, 1)

    def outcome(self) -> ProgramOutcome:
        """As its client saw it, once it has ended."""
        plan = self.plan
        return ProgramOutcome(plan.name, plan.session, plan.start_s, self.done_s or 0.0, self.served_s, self.failed)

    def _live(self, index: int) -> LiveCall:
        plan = self.plan.calls[index]
        return LiveCall(self._ids[index], self.plan, plan, Prompt(plan, self._replies))
