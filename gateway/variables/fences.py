"""Fenced code blocks of Markdown (CommonMark): a model's way to say where code begins and ends. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

_FENCE = re.compile(r" {0,3}(`{3,}+|~{3,}+)[ \t]*+([^\n]*)")


class Block(NamedTuple):
    """One block's content without its last line break, the first word of its info string in lower case."""

    text: str
    language: str
    closed: bool


def fenced_blocks(text: str) -> Iterator[Block]:
    """The blocks of a text, in order; one that is never closed runs to the end. Linear in the text."""
    fence = language = ""
    lines: list[str] = []
    for line in text.split("\n"):
        match = _FENCE.match(line)
        mark, info = (match[1], match[2].strip()) if match else ("", "")
        if not fence:
            if mark and not (mark[0] == "`" and "`" in info):
                fence, language, lines = mark, (info.split() or [""])[0].lower(), []
        elif mark.startswith(fence) and not info:
            yield Block("\n".join(lines), language, closed=True)
            fence = ""
        else:
            lines.append(line)
    if fence:
        yield Block("\n".join(lines), language, closed=False)
