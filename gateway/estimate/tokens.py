"""Prompt tokens from bytes, per model, learned online from the `prompt_tokens` that engines report.

A prompt is a vector of features (bytes by script, tool bytes, messages, pictures, clips); the estimate is their
weighted sum. Each report moves every weight in proportion to its share of the estimate (a multiplicative form of
normalised least mean squares), so weights stay positive and one odd prompt moves them little. Pure.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from gateway.estimate.accuracy import Accuracy
from gateway.structs import Unique

MAX_MODELS: Final = 256
LEARNING_RATE: Final = 0.2
MAX_RATIO: Final = 4.0
"""A report further than this from the estimate counts as this far."""
SETTLED: Final = 256
EVERY: Final = 8
"""After so many reports of a model, one in eight is enough to follow its drift."""

_START: Final[tuple[float, ...]] = (0.25, 0.4, 0.3, 4.0, 8.0, 600.0, 300.0)
"""Tokens per ASCII byte, other byte, tool byte, message, call, image, audio clip."""


class PromptSize(Unique):
    """How big a prompt is, without a tokenizer. Pictures and clips count by number, never by their base64 bytes."""

    ascii_bytes: int = 0
    """Bytes of text that is ASCII."""
    other_bytes: int = 0
    """UTF-8 bytes of text that is not."""
    tool_bytes: int = 0
    messages: int = 1
    images: int = 0
    audio_clips: int = 0
    token_ids: int = 0
    """Prompt tokens sent as ids: counted exactly."""


class _ModelWeights:
    __slots__ = ("accuracy", "seen", "weights")

    def __init__(self) -> None:
        self.weights: tuple[float, ...] = _START
        self.accuracy = Accuracy()
        self.seen = 0


class TokenEstimator:
    """Tokens per feature for at most 256 models, the one learned of longest ago forgotten first. Mutable."""

    __slots__ = ("_models",)

    def __init__(self) -> None:
        self._models: OrderedDict[str, _ModelWeights] = OrderedDict()

    def estimate(self, model: str, size: PromptSize) -> int:
        """The expected number of prompt tokens, at least 1."""
        if size.token_ids:
            return size.token_ids
        known = self._models.get(model)
        return round(sum(_parts(_START if known is None else known.weights, size))) or 1

    def tokens_per_byte(self, model: str) -> float:
        """What one byte of ASCII text counts for this model: the rate for a prompt's chain."""
        known = self._models.get(model)
        return (_START if known is None else known.weights)[0]

    def observe(self, model: str, size: PromptSize, prompt_tokens: int) -> None:
        """Learn from a reply's reported `prompt_tokens`."""
        known = self._models.get(model) or self._add(model)
        known.seen += 1
        if (known.seen > SETTLED and known.seen % EVERY) or size.token_ids:
            return
        self._models.move_to_end(model)
        parts = _parts(known.weights, size)
        estimate = sum(parts)
        if estimate <= 0 or prompt_tokens <= 0:
            return
        known.accuracy.note(estimate, prompt_tokens)
        drift = min(MAX_RATIO, max(1 / MAX_RATIO, prompt_tokens / estimate)) - 1
        known.weights = tuple(
            weight * (1 + LEARNING_RATE * drift * part / estimate)
            for weight, part in zip(known.weights, parts, strict=True)
        )

    def learned(self) -> dict[str, tuple[int, tuple[float, ...]]]:
        """By model: reports, and the weights learned of them."""
        return {model: (known.seen, known.weights) for model, known in self._models.items() if known.seen}

    def adopt(self, model: str, told: Sequence[tuple[int, tuple[float, ...]]]) -> None:
        """Start from weights learned elsewhere, merged by their reports, unless the model is known here.

        Raises: ValueError for what `learned` never gives.
        """
        sound = [(min(reports, SETTLED), weights) for reports, weights in told if len(weights) == len(_START)]
        if len(sound) < len(told) or any(not 0 < value < 1e6 for _, weights in sound for value in weights):
            raise ValueError("no weights of a prompt's parts")
        if not sound or model in self._models:
            return
        total = sum([reports for reports, _ in sound])
        known = self._add(model)
        known.weights = tuple(
            [sum([reports * weights[part] for reports, weights in sound]) / total for part in range(len(_START))]
        )

    def accuracies(self) -> dict[str, Accuracy]:
        """The error of the estimates, by model."""
        return {model: known.accuracy for model, known in self._models.items()}

    def _add(self, model: str) -> _ModelWeights:
        if len(self._models) >= MAX_MODELS:
            self._models.popitem(last=False)
        known = self._models[model] = _ModelWeights()
        return known


def _parts(weights: tuple[float, ...], size: PromptSize) -> tuple[float, ...]:
    return (
        weights[0] * size.ascii_bytes,
        weights[1] * size.other_bytes,
        weights[2] * size.tool_bytes,
        weights[3] * size.messages,
        weights[4],
        weights[5] * size.images,
        weights[6] * size.audio_clips,
    )
