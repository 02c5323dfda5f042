"""A prompt as the engine and the gateway know it: names of blocks, a chain of hashes, sizes. Pure.

Both names are hashes over all that comes before, so equal names mean equal beginnings, as in vLLM and in
`cache/chain.py`; here they are made of the numbers of texts instead of tokens and bytes. Only integers are hashed:
the same in every process.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from gateway.estimate.tokens import PromptSize
from gateway.nouns import Chain
from gateway.simulation.work import PlannedCall, Text

STRIDE_TOKENS: Final = 64
"""About the stride of the gateway's chain, 256 bytes."""
BYTES_PER_TOKEN: Final = (3.2, 4.8)
"""A text's own rate lies between these, so that an estimate has something to be wrong about."""
_MASK: Final = (1 << 32) - 1


class Prompt:
    """One call's prompt with its reply behind it, laid out in tokens."""

    __slots__ = ("_ends", "prompt_tokens", "texts")

    def __init__(self, call: PlannedCall, replies: Mapping[str, Text]) -> None:
        """`replies`: the texts of all the program's calls, this one's own among them."""
        self.texts: list[Text] = []
        self._ends: list[int] = []
        position = 0
        for message in call.messages:
            for piece in message:
                text = piece if isinstance(piece, Text) else replies[piece.step]
                self.texts.append(text)
                position += text.tokens
            self._ends.append(position)
        self.prompt_tokens = max(position, 1)
        self.texts.append(replies[call.step])

    def blocks(self, block_tokens: int) -> list[int]:
        """The names of its full blocks and of its reply's."""
        total = sum(text.tokens for text in self.texts)
        return _hashes(self.texts, range(block_tokens, total + 1, block_tokens))

    def size(self) -> PromptSize:
        """What the gateway sees of it: bytes and messages."""
        return PromptSize(ascii_bytes=int(sum(map(text_bytes, self.texts[:-1]))), messages=len(self._ends))

    def chain(self, estimated_tokens: int) -> Chain:
        """Its hashes at message ends and strides, at the tokens where the gateway believes them to lie."""
        marks = list(_marks(self._ends))
        hashes = _hashes(self.texts[:-1], marks)
        rate = estimated_tokens / self.prompt_tokens
        ends = set(self._ends)
        tokens: list[int] = []
        for mark in marks:
            tokens.append(max(int(mark * rate), (tokens[-1] if tokens else 0) + 1))
        messages = tuple(digest for digest, mark in zip(hashes, marks, strict=True) if mark in ends)
        return Chain(tuple(hashes), tuple(tokens), messages)


def _marks(ends: Sequence[int]) -> Iterator[int]:
    """Where a chain has boundaries: at every message's end, and every stride inside one."""
    start = 0
    for end in ends:
        yield from range(start + STRIDE_TOKENS, end, STRIDE_TOKENS)
        if end > start:
            yield end
        start = end


def _hashes(texts: Sequence[Text], cuts: Sequence[int]) -> list[int]:
    """The hash of everything before each cut; the cuts rise and lie within the texts."""
    found: list[int] = []
    parts = iter(texts)
    content, offset, left = 0, 0, 0
    digest, position = 0, 0
    for cut in cuts:
        while position < cut:
            while not left:
                text = next(parts)
                content, offset, left = text.content, 0, text.tokens
            taken = min(cut - position, left)
            digest = hash((digest, content, offset, taken))
            offset += taken
            left -= taken
            position += taken
        found.append(digest)
    return found


def text_bytes(text: Text) -> float:
    """How long a text is: each has its own rate."""
    low, high = BYTES_PER_TOKEN
    return text.tokens * (low + (high - low) * (hash((text.content, 7)) & _MASK) / _MASK)
