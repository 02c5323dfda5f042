"""A prompt's canonical bytes hashed in a chain: equal prefixes have equal hashes, whatever follows them.

Each piece is hashed with xxh3 seeded by the hash before it, so a hash stands for everything up to its boundary.
Boundaries are the end of the tools, every message end, and strides inside long messages. The last piece of a
message is seeded differently from the ones inside it, so `("ab", "c")`, `("a", "bc")` and `("abc",)` all differ.
Where boundaries lie depends only on what comes before them: prompts that share a prefix share its boundaries.
Pure. Not a defence against crafted collisions: a forged hash misleads placement, never a reply.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from xxhash import xxh3_64_intdigest

from gateway.nouns import NO_CHAIN, Chain

STRIDE_BYTES: Final = 256
"""The first stride inside a message; it doubles after every `STRIDES_PER_WIDTH` strides of one prompt."""
STRIDES_PER_WIDTH: Final = 32
DENSE_MESSAGES: Final = 1024
"""So many message ends are all boundaries; later ones only where a stride has passed since the last boundary."""
TOKENS_PER_BYTE: Final = 0.25
MESSAGE_TOKENS: Final = 4
"""What a chat template adds to each message."""

_END: Final = 0x9E3779B97F4A7C15
"""Flips the seed of a message's last piece (the 64-bit golden ratio)."""


def build_chain(
    salt: bytes,
    model: bytes,
    tools: bytes,
    messages: Sequence[bytes],
    *,
    tokens_per_byte: float = TOKENS_PER_BYTE,
    message_tokens: int = MESSAGE_TOKENS,
) -> Chain:
    """Hash one prompt. `messages` are role and content together, in order, as canonical bytes.

    `salt` separates trust groups, as the engine's `cache_salt` does. `tokens_per_byte` is the estimate for this
    prompt (estimated prompt tokens over bytes, so that the last boundary agrees with it); `message_tokens` is at
    least 1. The number of boundaries grows with the logarithm of the size beyond 1,024 messages and 8 KB.
    """
    if not messages and not tools:
        return NO_CHAIN
    digest = xxh3_64_intdigest(tools, xxh3_64_intdigest(model, xxh3_64_intdigest(salt)))
    root = digest
    if tools or len(messages) > DENSE_MESSAGES:
        return _strided_chain(root, tools, messages, tokens_per_byte, message_tokens)
    hashes: list[int] = []
    counts: list[int] = []
    mark = 0.0
    for message in messages:
        if len(message) > STRIDE_BYTES:
            return _strided_chain(root, tools, messages, tokens_per_byte, message_tokens)
        digest = xxh3_64_intdigest(message, digest ^ _END)
        mark += len(message) * tokens_per_byte + message_tokens
        hashes.append(digest)
        counts.append(int(mark))
    ends = tuple(hashes)
    return Chain(ends, tuple(counts), ends)


def _strided_chain(
    digest: int, tools: bytes, messages: Sequence[bytes], tokens_per_byte: float, message_tokens: int
) -> Chain:
    """The chain of a prompt of any size; one of a few short messages has no use for the bookkeeping."""
    links = _Links(digest, message_tokens / tokens_per_byte)
    if tools:
        links.add(digest, len(tools))
    if len(messages) <= DENSE_MESSAGES:
        links.add_dense(messages)
    else:
        links.add_dense(messages[:DENSE_MESSAGES])
        links.add_sparse(messages[DENSE_MESSAGES:])
    counts = [int(mark * tokens_per_byte) for mark in links.marks]
    if counts and counts[0] < 1:
        counts[0] = 1
    return Chain(tuple(links.hashes), tuple(counts), tuple(links.ends))


class _Links:
    """The chain under construction. `offset` and `marks` are bytes, a message's template counted as bytes too."""

    __slots__ = ("digest", "ends", "hashes", "marks", "offset", "overhead_bytes", "stride_bytes", "strides")

    def __init__(self, digest: int, overhead_bytes: float) -> None:
        self.digest = digest
        self.overhead_bytes = overhead_bytes
        self.offset = 0.0
        self.hashes: list[int] = []
        self.marks: list[float] = []
        self.ends: list[int] = []
        self.strides = 0
        self.stride_bytes = STRIDE_BYTES

    def add(self, digest: int, size_bytes: float) -> None:
        """Close a piece of `size_bytes` with a boundary."""
        self.digest = digest
        self.offset += size_bytes
        self.hashes.append(digest)
        self.marks.append(self.offset)

    def add_dense(self, messages: Sequence[bytes]) -> None:
        """Add messages whose ends are all boundaries."""
        hashes, marks, ends, overhead_bytes = self.hashes, self.marks, self.ends, self.overhead_bytes
        for message in messages:
            rest = message if len(message) <= STRIDE_BYTES else self._add_strides(message)
            self.digest = digest = xxh3_64_intdigest(rest, self.digest ^ _END)
            self.offset = offset = self.offset + len(rest) + overhead_bytes
            hashes.append(digest)
            marks.append(offset)
            ends.append(digest)

    def add_sparse(self, messages: Sequence[bytes]) -> None:
        """Add messages whose ends are boundaries only where a stride has passed since the last one."""
        marked = self.offset
        for message in messages:
            rest = message if len(message) <= STRIDE_BYTES else self._add_strides(message)
            self.digest = xxh3_64_intdigest(rest, self.digest ^ _END)
            self.offset += len(rest) + self.overhead_bytes
            if self.offset - marked >= self.stride_bytes:
                marked = self.offset
                self.add(self.digest, 0)
                self.ends.append(self.digest)
                self._widen()

    def _add_strides(self, message: bytes) -> bytes:
        """Hash the strides of a long message; the rest, not empty and at most a stride, is returned."""
        hashes, marks, digest = self.hashes, self.marks, self.digest
        start, size = 0, len(message)
        while size - start > (stride := self.stride_bytes):
            digest = xxh3_64_intdigest(message[start : start + stride], digest)
            start += stride
            hashes.append(digest)
            marks.append(self.offset + start)
            self._widen()
        self.digest = digest
        self.offset += start
        return message[start:] if start else message

    def _widen(self) -> None:
        self.strides += 1
        if not self.strides % STRIDES_PER_WIDTH:
            self.stride_bytes *= 2
