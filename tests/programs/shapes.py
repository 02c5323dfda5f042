"""Programs to send: graphs of calls that read from each other, in any order, and calls that fit into none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from tests.programs.call import TRANSFORMS, Spec

NAMES = ("a", "b", "c", "d", "e", "f", "g")
ITEMS = tuple(f"{name}.{index}" for name in NAMES for index in range(3))
STEPS = ("s", "t")
PLACES = (("acme", "run"), ("acme", "run"), ("acme", "run"), ("acme", "other"), ("evil", "run"))
transforms = st.sampled_from(("text", "text", *TRANSFORMS, "list"))
picks = st.integers(0, 15)


ROWS = (NAMES[:3], NAMES[:4], NAMES[:5], NAMES[2:6], NAMES[3:])
"""What the producers of one program are called."""


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
def programs(draw: Callable[[Any], Any]) -> list[Spec]:
    """A graph without a cycle: producers in a chain, joined, side by side or mapped; readers of the same."""
    place = draw(st.sampled_from(PLACES))
    made: dict[str, str] = {}
    specs: list[Spec] = []

    def send(outputs: dict[str, str], least: int, over: str | None = None) -> None:
        readable = [*made, *(f"{name}.{draw(st.integers(0, 2))}" for name in made if made[name] == "list")]
        inputs = draw(st.lists(st.sampled_from(readable), min_size=least, max_size=3, unique=True)) if made else []
        inputs = [*(name for name in inputs if name != over), *([over] if over is not None else [])]
        after = [
            name for name in draw(st.lists(st.sampled_from((*STEPS, *made)), max_size=1)) if name not in inputs
        ]
        after = after if draw(st.booleans()) else []
        stream = draw(st.booleans()) and over is None
        step, gateway, keyed = draw(st.sampled_from(STEPS)), draw(picks), draw(st.booleans())
        spec = Spec(*place, tuple(inputs), tuple(after), outputs, step, stream, gateway, over, keyed)
        specs.append(spec)
        made.update({name: "list" if over is not None else how for name, how in outputs.items()})

    for name in draw(st.sampled_from(ROWS)):
        lists = [each for each in made if made[each] == "list"]
        over = draw(st.sampled_from(lists)) if lists and draw(st.booleans()) else None
        how = draw(transforms)
        send({name: "text" if over is not None and how == "list" else how}, draw(st.integers(0, 1)), over)
    for _ in range(draw(st.integers(0, 3))):
        send({}, draw(st.integers(1, min(2, len(made)))))
    return draw(st.permutations(specs))
