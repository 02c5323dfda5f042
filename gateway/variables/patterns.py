"""Regular expressions of clients, on an engine whose time is linear in the text (RE2). Pure.

Linear is not yet short: the worst patterns cost some 10 ns for each byte of text and instruction of the
program, so both together are bounded. RE2 runs without holding the interpreter's lock.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import re2  # type: ignore[import-untyped]

from gateway.variables.values import NoValue

MAX_INSTRUCTIONS = 4096
MAX_STEPS = 1 << 30
"""Instructions times bytes; about ten seconds on a thread in the worst case, usually milliseconds."""


class BadPattern(ValueError):
    """A pattern RE2 does not take, or one that is too big."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """A compiled pattern."""

    _regexp: Any
    instructions: int

    def first(self, text: str) -> str:
        """The first group of the first match, or the match where there are no groups. Raises: NoValue."""
        encoded = text.encode("utf-8", "replace")
        if len(encoded) * self.instructions > MAX_STEPS:
            raise NoValue("the regex is too big for a reply this long")
        match = self._regexp.search(encoded)
        if match is None:
            raise NoValue("the regex does not match the reply")
        found: bytes | None = match.group(1 if self._regexp.groups else 0)
        if found is None:
            raise NoValue("the regex matches the reply, but its first group takes no part")
        return found.decode("utf-8", "replace")

    def holds(self, text: str, *, whole: bool) -> bool:
        """Whether the pattern matches all of the text, or else anywhere in it; False where it is too long."""
        encoded = text.encode("utf-8", "replace")
        if len(encoded) * self.instructions > MAX_STEPS:
            return False
        match = self._regexp.fullmatch(encoded) if whole else self._regexp.search(encoded)
        return match is not None


def compile_pattern(pattern: str) -> Pattern:
    """Compile a pattern in RE2's syntax. Raises: BadPattern."""
    options = re2.Options()
    options.log_errors = False
    options.max_mem = 1 << 20
    try:
        regexp = re2.compile(pattern.encode("utf-8", "replace"), options)
    except re2.error as error:
        raise BadPattern(_said(error)) from None
    if regexp.programsize > MAX_INSTRUCTIONS:
        raise BadPattern("it is too big: use smaller repetitions and fewer character classes")
    return Pattern(regexp, regexp.programsize)


def _said(error: Exception) -> str:
    said = error.args[0] if error.args else ""
    text = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
    return "it is too big" if "too large" in text else text
