"""How long a reply will be: a distribution per (model, program name, step) or prompt template, else per model.

A template is what prompts of one kind begin with (`template_of`), so that programs that say nothing about
themselves are told apart too. Unique prompts must not push out what is known of others: a template is remembered
from its second reply on, and until then it holds one place in a small table (the doorkeeper of TinyLFU, Einziger
et al., 2017). Pure.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from gateway.estimate.accuracy import Accuracy
from gateway.estimate.sketch import Sketch
from gateway.nouns import Chain

MAX_KEYS: Final = 16_384
START_TOKENS: Final = 128.0
"""Expected before anything is known of a model."""
TRUSTED_REPLIES: Final = 3
"""A step's or a template's own distribution is used from so many replies on."""
DOORS: Final = 8192
MAX_MODELS: Final = 256
LENT: Final = 16.0
"""Replies that what was learned elsewhere counts for at most."""
SETTLED: Final = 1024
EVERY: Final = 8
"""After so many replies of a model, one in eight is enough to follow it; its steps and templates learn of all."""

Key = tuple[str, str | None, str | None, int]
"""Model, program name, step, template: of the last three at least one is missing."""


def template_of(chain: Chain) -> int:
    """What names the prompt's kind: the hash of its first message, or of a long one's first stride; 0 is none."""
    if len(chain.messages) > 1:
        return chain.messages[0]
    return chain.hashes[0] if len(chain.hashes) > 1 else 0


class LengthEstimator:
    """Output lengths for at most 16,384 keys, least recently observed forgotten first. Mutable."""

    __slots__ = ("_doors", "_errors", "_keys")

    def __init__(self) -> None:
        self._keys: OrderedDict[Key, Sketch] = OrderedDict()
        self._errors: OrderedDict[str, Accuracy] = OrderedDict()
        self._doors: list[int] = [0] * DOORS

    def forecast(
        self,
        model: str,
        name: str | None = None,
        step: str | None = None,
        *,
        template: int = 0,
        max_tokens: int | None = None,
        expected_tokens: int | None = None,
        n: int = 1,
    ) -> int:
        """Mean output tokens of a call of `n` replies, at least 1.

        The caller's own hint wins over what was learned; `max_tokens` caps both, and the longest one in ten of
        what was learned.
        """
        known = None if expected_tokens is not None else self._best(model, name, step, template)
        if known is None:
            tokens = START_TOKENS if expected_tokens is None else float(expected_tokens)
        elif max_tokens is not None and max_tokens < known.tail():
            tokens = known.capped_mean(max_tokens)
        else:
            tokens = known.mean()
        if max_tokens is not None and max_tokens < tokens:
            tokens = float(max_tokens)
        return (round(tokens) or 1) * n

    def distribution(
        self, model: str, name: str | None = None, step: str | None = None, template: int = 0
    ) -> Sketch | None:
        """What `forecast` goes by: mean, quantiles and what remains after x tokens. Not to be changed."""
        return self._best(model, name, step, template)

    def observe(
        self,
        model: str,
        name: str | None,
        step: str | None,
        completion_tokens: int,
        *,
        n: int = 1,
        template: int = 0,
        expected: int | None = None,
    ) -> None:
        """Learn from a complete reply (all `n` of them together); `expected` is what was predicted of it."""
        tokens = completion_tokens / n
        of_model = self._sketch((model, None, None, 0))
        if of_model.samples < SETTLED or of_model.samples % EVERY == 0:
            of_model.observe(tokens)
            if expected is not None:
                self.accuracy(model).note(expected, completion_tokens)
        else:
            of_model.samples += 1
        if name is not None or step is not None:
            self._sketch((model, name, step, 0)).observe(tokens)
        elif template:
            key = (model, None, None, template)
            if self._has_come(template) or key in self._keys:
                self._sketch(key).observe(tokens)

    def learned(self) -> list[tuple[Key, Sketch]]:
        """Every key with replies enough to be used, the one learned of last first."""
        return [(key, sketch) for key, sketch in reversed(self._keys.items()) if sketch.samples >= TRUSTED_REPLIES]

    def adopt(self, key: Key, sketch: Sketch) -> None:
        """Start from what is known elsewhere of a key hardly seen here; it counts as a few replies."""
        own = self._keys.get(key)
        if sketch.samples >= TRUSTED_REPLIES and (own is None or own.samples < TRUSTED_REPLIES):
            self._sketch(key).merge(sketch, LENT)

    def accuracy(self, model: str) -> Accuracy:
        """The error of what was predicted of a model's replies."""
        known = self._errors.get(model)
        if known is None:
            if len(self._errors) >= MAX_MODELS:
                self._errors.popitem(last=False)
            known = self._errors[model] = Accuracy()
        return known

    def accuracies(self) -> dict[str, Accuracy]:
        """By model."""
        return dict(self._errors)

    def __len__(self) -> int:
        """Keys known."""
        return len(self._keys)

    def _has_come(self, template: int) -> bool:
        """Whether it was the last to come to its place in the table, which is its own now."""
        door = template % DOORS
        if self._doors[door] == template:
            return True
        self._doors[door] = template
        return False

    def _best(self, model: str, name: str | None, step: str | None, template: int) -> Sketch | None:
        own: Sketch | None = None
        if name is not None or step is not None:
            own = self._keys.get((model, name, step, 0))
        elif template:
            own = self._keys.get((model, None, None, template))
        if own is not None and own.samples >= TRUSTED_REPLIES:
            return own
        return self._keys.get((model, None, None, 0))

    def _sketch(self, key: Key) -> Sketch:
        known = self._keys.get(key)
        if known is None:
            known = self._keys[key] = Sketch()
            if len(self._keys) > MAX_KEYS:
                self._keys.popitem(last=False)
        else:
            self._keys.move_to_end(key)
        return known
