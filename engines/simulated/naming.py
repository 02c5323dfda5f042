"""The names of a request's blocks from its text: equal for equal beginnings, whoever sends them. Pure.

A prompt comes in pieces; the reply is laid out behind it as the assistant's next message, so that the turn that
quotes it finds the blocks of what was generated too.
"""

from __future__ import annotations

from collections.abc import Iterator

from xxhash import xxh3_64_intdigest

from engines.simulated.prompt import Prompt, message_pieces


def block_names(prompt: Prompt, reply: str, output_tokens: int, block_tokens: int) -> list[int]:
    """One for each full block of the prompt and so many tokens of the reply."""
    total = prompt.tokens + output_tokens
    cuts = range(block_tokens, total + 1, block_tokens)
    pieces = iter((*prompt.pieces, *message_pieces("assistant", reply)))
    return list(_names(pieces, cuts, xxh3_64_intdigest(prompt.salt.encode())))


def _names(pieces: Iterator[tuple[str, int]], cuts: range, digest: int) -> Iterator[int]:
    text, offset, left, position = b"", 0, 0, 0
    for cut in cuts:
        while position < cut:
            if not left:
                words, left = next(pieces, ("", cut - position))
                text, offset = words.encode(), 0
            taken = min(cut - position, left)
            digest = xxh3_64_intdigest(b"%d:%d:%b" % (offset, taken, text), digest)
            offset += taken
            left -= taken
            position += taken
        yield digest
