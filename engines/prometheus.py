"""Reading single metrics out of a Prometheus text page, without parsing the page. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def samples(page: bytes, name: bytes) -> Iterator[tuple[bytes, float]]:
    """Label text and value of each series of one metric. Lines that cannot be read are left out."""
    page = b"\n" + page
    needle = b"\n" + name
    at = page.find(needle)
    while at >= 0:
        start = at + len(needle)
        end = page.find(b"\n", start)
        line = page[start : end if end >= 0 else len(page)]
        labels, _, value = line.rpartition(b"}")
        number = _number(value)
        if line[:1] in (b"{", b" ") and number is not None:
            yield labels[1:], number
        at = page.find(needle, start)


def labels_of(text: bytes) -> dict[str, str]:
    """The labels of one series."""
    return dict(_LABEL.findall(text.decode("utf-8", "replace")))


def _number(text: bytes) -> float | None:
    try:
        return float(text.split()[0])
    except (ValueError, IndexError):
        return None
