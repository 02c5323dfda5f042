"""Whose turn it is first: those that are compared take turns, so that nobody is always measured first. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

_T = TypeVar("_T")


def rotated(each: Sequence[_T], turn: int) -> list[_T]:
    """All of them, another one first in each of `len(each)` turns."""
    first = turn % len(each)
    return [*each[first:], *each[:first]]
