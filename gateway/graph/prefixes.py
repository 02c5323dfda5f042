"""The prefix of a prompt at each of its variables, hashed before any of them has a value. Pure; one pass.

Parrot (Lin et al., OSDI 2024, section 5.3, `PrefixHash`): constants count by their content, variables by what they
are, not by what they hold. So two calls of one session are known to share a prefix, generated values in it, as soon
as they are declared: where their hashes agree. Hashes steer, they prove nothing: 64 bits, texts only.
"""

from __future__ import annotations

from collections.abc import Iterable

from xxhash import xxh3_64_intdigest

from gateway.structs import Frozen

_CONSTANT, _VARIABLE = b"c", b"v"
_START = 0


class Reference(Frozen):
    """A variable in a prompt. `name` is its name in the session."""

    name: str


class Boundary(Frozen):
    """The prompt up to a variable, and with it."""

    name: str
    before: int
    """Of all before the variable."""
    after: int
    """With the variable too: calls that agree here share its value."""
    constant_bytes: int
    """Of constants before it, in UTF-8: what may be computed without any value."""


def prefix_hashes(session: str, segments: Iterable[str | Reference]) -> list[Boundary]:
    """The boundaries of one prompt, in its order. Constants next to each other count as one; empty ones do not.

    `session` (tenant and session) says which variables are meant: those of others are others.
    """
    boundaries: list[Boundary] = []
    state, constants, constant_bytes = _START, [session.encode(), b"\0"], 0
    for segment in segments:
        if isinstance(segment, str):
            text = segment.encode("utf-8", "surrogatepass")
            constants.append(text)
            constant_bytes += len(text)
            continue
        before = _chained(state, _CONSTANT, b"".join(constants))
        state = _chained(before, _VARIABLE, segment.name.encode())
        boundaries.append(Boundary(segment.name, before, state, constant_bytes))
        constants = []
    return boundaries


def shared(one: Iterable[Boundary], other: Iterable[Boundary]) -> tuple[str, ...]:
    """The variables that two prompts begin with in the same way, in order: their values are a shared prefix."""
    names: list[str] = []
    for mine, theirs in zip(one, other, strict=False):
        if mine.after != theirs.after:
            break
        names.append(mine.name)
    return tuple(names)


def _chained(state: int, kind: bytes, content: bytes) -> int:
    return xxh3_64_intdigest(kind + content, seed=state)
