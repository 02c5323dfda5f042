"""One worker's speed: seconds to the first token, and of a decode step, as linear relations. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.estimate.accuracy import Accuracy
from gateway.estimate.cross import Cross
from gateway.estimate.fit import DECAY, Fit

if TYPE_CHECKING:
    from gateway.estimate.knee import Knee

START_PREFILL_S: Final = 0.0005
"""Per token, before anything is known, as the next."""
START_DECODE_S: Final = 0.02
START_CALL_S: Final = 0.0002
"""What each further call in the batch adds to a step."""
PULL_PREFILL: Final = (1.0, 1.0e5)
"""Precision of the prior, of the base and per token: as from two prompts of a thousand tokens."""
PULL_DECODE: Final = (64.0, 1024.0, 1024.0)
"""The same of a step: as from 64 steps of four calls and four thousand tokens."""
PREFILL_SCALE: Final = 64.0
"""A first token's time varies by so many tokens' worth, and by the square root of the tokens."""
STEPS_SCALE: Final = 16.0
"""And the time of so many steps varies as much as that of these tokens."""
MAX_STEPS: Final = 256.0
"""A reply counts for at most so many steps."""
OUTLIER: Final = 20.0
STALL: Final = 4.0
"""A sample counts as at most so many times its prediction, the first eight and the later ones."""
YOUNG: Final = 8
OPERATING_DECAY: Final = 0.95
UNSTREAMED_SHARE: Final = 0.05
"""A reply whose bytes came in less than this share of its time was not streamed: its first byte says nothing."""
LEAST_DECODE: Final = 0.2
"""Others' prompts take at most the rest of a reply's decode time."""
LENT_PREFILL: Final = 2.0
LENT_STEPS: Final = 512.0
"""The most that what was learned elsewhere weighs: a few replies."""


class ServiceSample(NamedTuple):
    """One complete reply's timing (a tuple: one is made for every reply that teaches)."""

    missing_tokens: int
    ahead_tokens: float
    """Others' missing prompt tokens computed between dispatch and the first token."""
    output_tokens: int
    first_byte_s: float
    total_s: float
    """Both from dispatch."""
    calls: float = 1.0
    """In flight on the worker while it was decoded, itself among them, on average; as the next two."""
    context_tokens: float = 0.0
    """Of all of these."""
    beside_tokens: float = 0.0
    """Prompt tokens of others whose prefill ended meanwhile, in all."""
    predicted_s: float = 0.0
    """What was predicted at dispatch, not knowing how long the reply would be; 0 if nothing was."""


class WorkerRates:
    """One worker's rates; read-only outside `estimate`. `prefill_s` and `decode_s` are per token, as of now."""

    __slots__ = (
        "_calls",
        "_context",
        "_cross",
        "_decode",
        "_prefill",
        "decode_error",
        "decode_s",
        "knee",
        "prefill_base_s",
        "prefill_error",
        "prefill_s",
        "samples",
        "service_error",
        "stall_s",
    )

    def __init__(self, prefill_s: float = START_PREFILL_S, decode_s: float = START_DECODE_S) -> None:
        self._prefill = Fit()
        self._decode = Fit()
        self._cross = Cross()
        self._prefill.c1 = prefill_s
        self._decode.c1 = START_CALL_S
        self._decode.c0 = max(decode_s - START_CALL_S, 0.0)
        self.prefill_s = prefill_s
        """For each missing prompt token."""
        self.prefill_base_s = 0.0
        """For a prompt of none."""
        self.decode_s = decode_s
        """Of a step at the batch and context of the recent replies."""
        self.stall_s = 0.0
        """What others' prompts have lately added to a step."""
        self.knee: Knee | None = None
        """Where its throughput stops to grow; None until that was measured."""
        self._calls, self._context = 1.0, 0.0
        self.prefill_error, self.decode_error, self.service_error = Accuracy(), Accuracy(), Accuracy()
        self.samples = 0

    @property
    def is_blank(self) -> bool:
        """Whether nothing was learned of it, nor lent to it."""
        return not (self._prefill.weight or self._decode.weight)

    def step_s(self, calls: float, context_tokens: float) -> float:
        """One decode step of a batch of `calls` whose contexts are so many tokens together."""
        return self._decode.value(calls, context_tokens / 1000.0)

    def first_token_s(self, missing_tokens: float) -> float:
        """From dispatch to the first token, where so many prompt tokens are not cached (those ahead included)."""
        return self.prefill_base_s + missing_tokens * self.prefill_s

    def predict_s(self, missing_tokens: float, output_tokens: float) -> float:
        """Service time of a call with nobody ahead of it, beside as many others as there were lately."""
        step_s = self.decode_s + self.stall_s
        return self.prefill_base_s + missing_tokens * self.prefill_s + output_tokens * step_s

    def coefficients(self) -> dict[str, float]:
        """Seconds: base and per prompt token to the first token; base, per call and per 1,000 tokens of a step."""
        return {
            "prefill_base_s": self.prefill_base_s,
            "prefill_token_s": self.prefill_s,
            "step_base_s": self._decode.c0,
            "step_call_s": self._decode.c1,
            "step_kilotoken_s": self._decode.c2,
        }

    def split(self, sample: ServiceSample) -> tuple[float, float]:
        """The reply's time until its first token, and of its decoding without what others' prompts took of it.

        Where nobody knows when its first token came, all of its time, and 0.
        """
        first_s = self.first_token_s(_prompt_tokens(sample))
        steps_s = sample.output_tokens * self.step_s(sample.calls, sample.context_tokens)
        most = OUTLIER if self.samples < YOUNG else STALL
        if not _is_streamed(sample):
            return min(sample.total_s, most * (first_s + steps_s)), 0.0
        decode_s = sample.total_s - sample.first_byte_s
        decode_s = max(decode_s - sample.beside_tokens * self.prefill_s, LEAST_DECODE * decode_s)
        return min(sample.first_byte_s, most * first_s), min(decode_s, most * steps_s)

    def learn(self, sample: ServiceSample, parts: tuple[float, float]) -> None:
        """Add one reply; a single output token came with the first byte and says nothing of steps."""
        tokens = _prompt_tokens(sample)
        steps = float(sample.output_tokens - 1)
        calls, kilotokens = sample.calls, sample.context_tokens / 1000.0
        if _is_streamed(sample):
            prefill_s, decode_s = parts
            self._cross.fade(DECAY)
            if tokens > 0:
                self._prefill.learn(tokens, 0.0, prefill_s, 1.0 / (tokens / PREFILL_SCALE + 1.0))
            if steps >= 1.0:
                self._decode.learn(calls, kilotokens, decode_s / steps, min(steps, MAX_STEPS))
        else:
            total_s = parts[0]
            weight = 1.0 / (tokens / PREFILL_SCALE + 1.0 + steps / STEPS_SCALE)
            self._prefill.learn(tokens, 0.0, total_s, weight)
            self._decode.learn(calls, kilotokens, total_s / steps, weight * steps * steps)
            self._cross.learn(tokens, calls, kilotokens, weight * steps)
        if steps >= 1.0:
            self._calls += (sample.calls - self._calls) * (1 - OPERATING_DECAY)
            self._context += (sample.context_tokens - self._context) * (1 - OPERATING_DECAY)
            stall_s = sample.beside_tokens * self.prefill_s / steps
            self.stall_s += (stall_s - self.stall_s) * (1 - OPERATING_DECAY)

    def settle(self, to: WorkerRates, pull: float = 1.0) -> None:
        """Work out the rates, pulled towards those given: as by a few replies, times `pull`.

        Each relation once, without what the other explains as it is by now: they converge from reply to reply.
        """
        prefill, decode = self._prefill, self._decode
        base, token, one = PULL_PREFILL[0] * pull, PULL_PREFILL[1] * pull, PULL_DECODE[0] * pull
        call, kilotoken = PULL_DECODE[1] * pull, PULL_DECODE[2] * pull
        prefill.settle(to._prefill, base, token, 1.0, self._cross.of_second(decode))
        decode.settle(to._decode, one, call, kilotoken, self._cross.of_first(prefill))
        self.prefill_base_s, self.prefill_s = prefill.c0, max(prefill.c1, 1e-9)
        if not decode.weight:
            self._calls, self._context, self.stall_s = to._calls, to._context, to.stall_s
        self.decode_s = max(decode.value(self._calls, self._context / 1000.0), 1e-9)

    def fade(self, by: float) -> None:
        """Let what was learned weigh less."""
        self._prefill.fade(by)
        self._decode.fade(by)
        self._cross.fade(by)

    def note_errors(self, sample: ServiceSample) -> None:
        """Compare what would have been predicted of this reply with what came, before anything is learned of it."""
        missing, ahead, output, first_byte_s, total_s = sample[:5]
        first_s = self.first_token_s(missing + ahead)
        steps_s = output * self.step_s(sample.calls, sample.context_tokens) + sample.beside_tokens * self.prefill_s
        if output > 1 and _is_streamed(sample):
            self.prefill_error.note(first_s, first_byte_s)
            self.decode_error.note(steps_s, total_s - first_byte_s)
        self.service_error.note(sample.predicted_s or first_s + steps_s, total_s)
        self.samples += 1

    def dump(self) -> tuple[list[float], list[float]]:
        """What is known, in a compact form: of the first token, of steps."""
        cross = self._cross
        return self._prefill.dump(cross.of_second(self._decode)), self._decode.dump(cross.of_first(self._prefill))

    def load(self, prefill: Sequence[float], decode: Sequence[float]) -> None:
        """Add what `dump` gave, as a prior that own replies soon outweigh. Raises: ValueError."""
        if any(prefill):
            self._prefill.load(prefill, LENT_PREFILL)
        if any(decode):
            self._decode.load(decode, LENT_STEPS)


def _is_streamed(sample: ServiceSample) -> bool:
    """Whether its first byte was its first token; a reply of one token is both."""
    return sample.output_tokens <= 1 or sample.total_s - sample.first_byte_s >= UNSTREAMED_SHARE * sample.total_s


def _prompt_tokens(sample: ServiceSample) -> float:
    """Those that were computed until its first token; until its end where nobody knows when that came."""
    tokens = sample.missing_tokens + sample.ahead_tokens
    return tokens if _is_streamed(sample) else tokens + sample.beside_tokens
