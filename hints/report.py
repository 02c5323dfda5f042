"""What goes back to the caller: the values of `x-workflow-hints` and `x-workflow-notes`. Pure.

Both are lists in the grammar of RFC 9651, printable ASCII and at most 1 KB, whatever the caller sent.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from hints import own
from hints.model import Hint

MAX_VALUE_BYTES = 1024

_UNSAFE = re.compile(r"[^\x21-\x7e]")
_OWN_SOURCES = {row.field: row.header for row in own.OWN}
_SHORT = {row.field: row.header.removeprefix(own.HEADER_PREFIX.decode()) for row in own.OWN}


def understood(hint: Hint) -> str:
    """What was understood and from where: `session;from=x-claude-code-session-id, step`."""
    return _bounded(
        _short(field) if _OWN_SOURCES.get(field) == source else f"{_short(field)};from={source}"
        for field, source in hint.sources
    )


def joined_notes(notes: Iterable[str]) -> str:
    """Notes as one header value; those that no longer fit are replaced by `truncated`."""
    return _bounded(notes)


def _short(field: str) -> str:
    return _SHORT.get(field) or field.replace("_", "-")


def _bounded(members: Iterable[str]) -> str:
    kept: list[str] = []
    size = 0
    for member in members:
        safe = _UNSAFE.sub("?", member).replace(",", "?")
        size += len(safe) + 2
        if size > MAX_VALUE_BYTES - len("truncated"):
            kept.append("truncated")
            break
        kept.append(safe)
    return ", ".join(kept)
