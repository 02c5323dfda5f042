"""Bases of structs that carry their options: mypyc drops the keywords of a class it compiles, never its base's."""

from __future__ import annotations

from typing import dataclass_transform

from msgspec import Struct, field


@dataclass_transform(field_specifiers=(field,), frozen_default=True)
class Frozen(Struct, frozen=True):
    """A value: it cannot be changed, and equals another with the same fields."""


class Unique(Struct, eq=False):
    """A thing: it may change, and equals only itself."""


class Leaf(Unique, gc=False):
    """A thing that refers to nothing that could refer back to it, so the garbage collector need not look at it."""
