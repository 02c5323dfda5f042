"""Programs to send: graphs of calls that read from each other, in any order, and calls that fit into none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from tests.programs.call import TRANSFORMS, Spec

NAMES = ("a", "b", "c", "d", "e", "f", "g")
ITEMS = tuple(f"{name}.{index}" for name in NAMES for index in range(3))
STEPS = ("s", "t")
PLACES = (("acme", "run"), ("acme", "run"), ("acme", "run"), ("acme", "other"), ("evil", "run"))
transforms = st.sampled_from(("text", "text", *TRANSFORMS, "list"))
picks = st.integers(0, 30)


ROWS = (NAMES[:3], NAMES[:4], NAMES[:5], NAMES[:6], NAMES[3:])
"""What the producers of one program are called."""
KINDS = ("any", "any", "any", "map", "map", "chain", "ring")
"""A chain may be longer than it may be; a ring never ends."""
Draw = Callable[[Any], Any]


def _is_valid(spec: Spec) -> bool:
    """One list a call, so that a reply has it or has none; and a map has no lists of lists."""
    lists = sum(how == "list" for how in spec.outputs.values())
    return lists <= (spec.over is None) and bool(spec.inputs or spec.outputs or spec.after)


strays = st.builds(
    lambda place, inputs, after, outputs, step, stream, gateway, keyed: Spec(
        *place,
        tuple(inputs),
        tuple(n for n in after if n not in inputs),
        outputs,
        step,
        stream,
        gateway,
        keyed=keyed,
    ),
    st.sampled_from(PLACES),
    st.lists(st.sampled_from((*NAMES, *NAMES, *ITEMS)), max_size=3, unique=True),
    st.lists(st.sampled_from((*STEPS, *NAMES)), max_size=1),
    st.dictionaries(st.sampled_from(NAMES), transforms, max_size=2),
    st.sampled_from(STEPS),
    st.booleans(),
    picks,
    st.booleans(),
).filter(_is_valid)
"""Calls that may produce what is taken, wait for themselves, or read what nobody produces."""


@st.composite
def programs(draw: Draw) -> list[Spec]:
    """Producers joined, side by side, in a chain or a ring, some mapped; and readers of the same values."""
    place, kind = draw(st.sampled_from(PLACES)), draw(st.sampled_from(KINDS))
    made: dict[str, str] = {}
    specs: list[Spec] = []
    for name in draw(st.sampled_from(ROWS)):
        lists = [each for each in made if made[each] == "list"]
        over = draw(st.sampled_from(lists)) if lists and (kind == "map" or draw(st.booleans())) else None
        how = "list" if kind == "map" and not made else draw(transforms)
        joins = kind in ("any", "map")
        sources = _sources(draw, made, draw(st.integers(0, 1))) if joins else list(made)[-1:]
        outputs = {name: "text" if over is not None and how == "list" else how}
        specs.append(_call(draw, place, [*sources, *([over] if over is not None else [])], made, outputs, over))
        made[name] = "list" if over is not None else how
    readers = range(draw(st.integers(0, 3)))
    specs += [_call(draw, place, _sources(draw, made, draw(st.integers(1, 2))), made, {}) for _ in readers]
    if kind == "ring":
        specs[0] = replace(specs[0], inputs=(list(made)[-1],), after=())
    return draw(st.permutations(specs))


def _sources(draw: Draw, made: dict[str, str], least: int) -> list[str]:
    """Some of what has been made, items of lists among them."""
    names = [*made, *(f"{name}.{draw(st.integers(0, 2))}" for name in made if made[name] == "list")]
    return draw(st.lists(st.sampled_from(names), min_size=least, max_size=3, unique=True)) if names else []


def _call(
    draw: Draw,
    place: tuple[str, str],
    inputs: list[str],
    made: dict[str, str],
    outputs: dict[str, str],
    over: str | None = None,
) -> Spec:
    """One call of a program; it may follow a step, or what was made and it does not read."""
    inputs = list(dict.fromkeys(inputs))
    after = draw(st.lists(st.sampled_from((*STEPS, *made)), max_size=1)) if draw(st.booleans()) else []
    after = [name for name in after if name not in inputs]
    stream = draw(st.booleans()) and over is None
    step, gateway, keyed = draw(st.sampled_from(STEPS)), draw(picks), draw(st.booleans())
    return Spec(*place, tuple(inputs), tuple(after), outputs, step, stream, gateway, over, keyed)
