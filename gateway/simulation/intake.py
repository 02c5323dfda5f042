"""From a planned call to what the scheduler is told of it, with the gateway's own estimators. Pure."""

from __future__ import annotations

from gateway.estimate.lengths import LengthEstimator
from gateway.estimate.tokens import PromptSize, TokenEstimator
from gateway.nouns import ReadyCall, Standing, Usage
from gateway.simulation.prompts import Prompt
from gateway.simulation.work import Mode, PlannedCall, PlannedProgram, Text

MODEL = "simulated"
TENANT = "tenant"


class LiveCall:
    """One call from its arrival on. Mutable."""

    __slots__ = (
        "arrived_s",
        "call_id",
        "dispatched_s",
        "done_s",
        "first_s",
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
        self.arrived_s = 0.0
        self.dispatched_s: float | None = None
        self.first_s: float | None = None
        self.done_s: float | None = None
        self.worker: str | None = None
        self.predicted_cached = 0
        self.usage: Usage | None = None


class SimulatedIntake:
    """Estimates, and learns from what ended. Mutable."""

    def __init__(self, mode: Mode) -> None:
        self._mode = mode
        self._tokens = TokenEstimator()
        self._lengths = LengthEstimator()

    def admit(
        self,
        call: LiveCall,
        now_s: float,
        standing: Standing | None = None,
        began_s: float = 0.0,
        siblings: int = 1,
    ) -> ReadyCall:
        """What the scheduler is told of a call that arrives now."""
        prompt_tokens = self._tokens.estimate(MODEL, call.size)
        objective = None if self._mode is Mode.PLAIN else call.plan.objective
        ready = ReadyCall(
            call.call_id,
            TENANT,
            MODEL,
            now_s,
            prompt_tokens,
            self._lengths.expect(MODEL, *self._key(call), max_tokens=call.plan.limit_tokens),
            call.prompt.chain(prompt_tokens),
            None if self._mode is Mode.PLAIN else call.program.session,
            objective if standing is None else standing.objective,
            standing=standing,
            began_s=began_s,
            reserved=standing is not None,
            siblings=siblings,
        )
        call.ready, call.arrived_s = ready, now_s
        return ready

    def learn(self, call: LiveCall, usage: Usage) -> None:
        """A call ended well."""
        self._tokens.observe(MODEL, call.size, usage.prompt_tokens)
        self._lengths.observe(MODEL, *self._key(call), usage.completion_tokens)

    def _key(self, call: LiveCall) -> tuple[str | None, str | None]:
        """Program and step, where the mode says them."""
        return (call.program.name, call.plan.step) if self._mode is Mode.GATEWAY else (None, None)


def reply_text(program: int, index: int, tokens: int) -> Text:
    """The text that a call of a program answers: nobody else's."""
    return Text(hash((program, index, 1)), tokens)
