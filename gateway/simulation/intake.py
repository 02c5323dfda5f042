"""From a planned call to what the scheduler is told of it, with the gateway's own estimators. Pure."""

from __future__ import annotations

from msgspec.structs import replace

from gateway.estimate.estimators import Estimators
from gateway.estimate.lengths import template_of
from gateway.estimate.programs import Name
from gateway.estimate.tokens import PromptSize
from gateway.nouns import ReadyCall, Standing, Usage
from gateway.simulation.prompts import Prompt
from gateway.simulation.work import Mode, PlannedCall, PlannedProgram, Text

MODEL = "simulated"


class LiveCall:
    """One call from its arrival on. Mutable."""

    __slots__ = (
        "arrived_s",
        "call_id",
        "dispatched_s",
        "done_s",
        "first_s",
        "is_linked",
        "plan",
        "predicted_cached",
        "program",
        "prompt",
        "ready",
        "size",
        "usage",
        "worker",
    )

    def __init__(self, call_id: str, program: PlannedProgram, plan: PlannedCall, prompt: Prompt) -> None:
        self.call_id = call_id
        self.program = program
        self.plan = plan
        self.prompt = prompt
        self.size: PromptSize = prompt.size()
        self.ready: ReadyCall | None = None
        self.is_linked = False
        """Whether the gateway found its session by itself."""
        self.arrived_s = 0.0
        self.dispatched_s: float | None = None
        self.first_s: float | None = None
        self.done_s: float | None = None
        self.worker: str | None = None
        self.predicted_cached = 0
        self.usage: Usage | None = None


class SimulatedIntake:
    """Estimates, and learns from what ended. Mutable."""

    def __init__(self, mode: Mode, estimators: Estimators) -> None:
        self._mode = mode
        self._estimators = estimators

    def admit(
        self,
        call: LiveCall,
        now_s: float,
        standing: Standing | None = None,
        began_s: float = 0.0,
        *,
        siblings: int = 1,
        left_calls: int = 0,
    ) -> ReadyCall:
        """What the scheduler is told of a call that arrives now."""
        prompt_tokens = self._estimators.tokens.estimate(MODEL, call.size)
        chain = call.prompt.chain(prompt_tokens)
        name, step = self._key(call)
        output_tokens = self._estimators.lengths.forecast(
            MODEL,
            name,
            step,
            template=template_of(chain),
            max_tokens=call.plan.limit_tokens,
            expected_tokens=None,
            n=1,
        )
        objective = call.plan.objective if self._mode is Mode.GATEWAY else None
        ready = ReadyCall(
            call.call_id,
            call.program.tenant,
            MODEL,
            now_s,
            prompt_tokens,
            output_tokens,
            chain,
            call.program.session if self._is_of_program(call) else None,
            objective if standing is None else standing.objective,
            standing=standing,
            began_s=began_s,
            reserved=standing is not None,
            siblings=siblings,
            left_calls=left_calls,
        )
        call.ready, call.arrived_s = self._foreseen(call, ready, now_s), now_s
        return call.ready

    def learn(self, call: LiveCall, usage: Usage, now_s: float) -> None:
        """A call ended well."""
        ready, (name, step) = call.ready, self._key(call)
        assert ready is not None, f"{call.call_id} has not arrived"
        self._estimators.tokens.observe(MODEL, call.size, usage.prompt_tokens)
        self._estimators.lengths.observe(
            MODEL,
            name,
            step,
            usage.completion_tokens,
            template=template_of(ready.chain),
            expected=ready.output_tokens,
        )
        if ready.program is not None and call.dispatched_s is not None:
            took_s = now_s - call.dispatched_s
            self._estimators.programs.ended(ready.program, step, took_s, usage.completion_tokens, now_s=now_s)

    def finish(self, session: str) -> None:
        """A session is over."""
        self._estimators.programs.finish(session)

    def expire(self, now_s: float) -> None:
        """Sessions of which nothing has been heard for long are over too."""
        self._estimators.programs.expire(now_s)

    def _foreseen(self, call: LiveCall, ready: ReadyCall, now_s: float) -> ReadyCall:
        """With what its program has left, as `gateway/foresight.py` says it."""
        if ready.program is None:
            return ready
        name, step = self._key(call)
        known: Name = (call.program.tenant, name if name is not None else f"#{template_of(ready.chain):x}")
        programs = self._estimators.programs
        left, ends = programs.ready(ready.program, known, step, arrived_s=now_s, now_s=now_s)
        if left is None:
            return replace(ready, ends=ends)
        return replace(ready, left_s=left.seconds, ends=ends)

    def _is_of_program(self, call: LiveCall) -> bool:
        """Whether the gateway knows its session."""
        return call.is_linked if self._mode is Mode.INFERRED else self._mode is not Mode.PLAIN

    def _key(self, call: LiveCall) -> tuple[str | None, str | None]:
        """Program and step, where the mode says them."""
        return (call.program.name, call.plan.step) if self._mode is Mode.GATEWAY else (None, None)


def reply_text(program: int, index: int, tokens: int) -> Text:
    """The text that a call of a program answers: nobody else's."""
    return Text(hash((program, index, 1)), tokens)
