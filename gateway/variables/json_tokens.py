"""JSON cut into tokens while it arrives, whatever the cuts; linear, holds one token. Pure."""

from __future__ import annotations

import re

PUNCTUATION = frozenset("[]{},:")
_IN_STRING = re.compile(r'(?:[^"\\]++|\\.)*+', re.DOTALL)
_TOKEN = re.compile(r'["\[\]{},:]|[^"\[\]{},:]++')


class JsonTokens:
    """Tokens are strings (with their quotes), single punctuation, and runs: all between those, blanks included."""

    __slots__ = ("_escaped", "_in_string", "_parts", "held_chars")

    def __init__(self) -> None:
        self._parts: list[str] = []
        self.held_chars = 0
        """The length of the token that has not ended yet."""
        self._in_string = False
        self._escaped = False

    def next(self, piece: str, at: int) -> tuple[str | None, int]:
        """The next token of `piece` from `at` on, None if it does not end there; and where to go on."""
        if self._in_string:
            return self._string(piece, at)
        found = _TOKEN.match(piece, at)
        if found is None:
            return None, len(piece)
        token = found[0]
        if token[0] != '"' and token[0] not in PUNCTUATION:
            self._hold(token)
            return (None if found.end() == len(piece) else self._release()), found.end()
        if self._parts:
            return self._release(), at
        if token != '"':
            return token, found.end()
        self._in_string = True
        self._hold(token)
        return self._string(piece, found.end())

    def _string(self, piece: str, at: int) -> tuple[str | None, int]:
        if self._escaped and at < len(piece):
            self._hold(piece[at])
            self._escaped = False
            at += 1
        found = _IN_STRING.match(piece, at)
        end = found.end() if found is not None else at
        self._hold(piece[at : end + 1])
        if end == len(piece):
            return None, end
        if piece[end] == "\\":
            self._escaped = True
            return None, end + 1
        self._in_string = False
        return self._release(), end + 1

    def _hold(self, part: str) -> None:
        self._parts.append(part)
        self.held_chars += len(part)

    def _release(self) -> str:
        token = "".join(self._parts)
        self._parts.clear()
        self.held_chars = 0
        return token
