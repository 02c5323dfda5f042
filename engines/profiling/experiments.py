"""What is asked of a worker to find its costs: prompts of several lengths, and batches that decode. Pure.

A prefill is one call for one token after a prompt that nobody has sent before: its time is the way there, the
steps that its prompt takes, and those tokens. A decode is several calls at once over prompts that the worker has in
its cache, each its own, as calls have in practice: between two tokens of any of them lies one step.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Final

PREFILL_TOKENS: Final = (48, 128, 256, 512, 1024, 2048)
DECODES: Final = ((1, 64), (1, 1024), (2, 64), (4, 64), (4, 768), (8, 64), (8, 256), (16, 64), (16, 256))
"""Sequences, and prompt tokens of each."""
DECODE_TOKENS: Final = 24
_WORDS: Final = (
    "river",
    "town",
    "market",
    "bridge",
    "winter",
    "harvest",
    "copper",
    "road",
    "keeper",
    "engine",
    "letter",
)
_WORD_TOKENS: Final = 1.3


@dataclass(frozen=True, slots=True)
class Prefill:
    """One call with about so many prompt tokens."""

    tokens: int


@dataclass(frozen=True, slots=True)
class Decode:
    """So many calls at once with about so many prompt tokens each."""

    sequences: int
    tokens: int


Experiment = Prefill | Decode


def experiments(max_model_len: int, kv_tokens: int, max_num_seqs: int) -> Iterator[Experiment]:
    """One round of all that this worker can hold, small and large in turn."""
    longest = min(max_model_len, kv_tokens) // 2
    yield from (Prefill(tokens) for tokens in PREFILL_TOKENS if tokens <= longest)
    for sequences, tokens in DECODES:
        room = sequences * (tokens + DECODE_TOKENS)
        if tokens <= longest and room <= kv_tokens // 2 and sequences <= max_num_seqs:
            yield Decode(sequences, tokens)


def words(tokens: int, nonce: str) -> str:
    """A text of about so many tokens that begins like no other."""
    random = Random(nonce)
    return " ".join([nonce, *random.choices(_WORDS, k=max(1, int(tokens / _WORD_TOKENS)))])
