from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hints.client import hint_headers
from hints.model import Mode, Objective, Output
from hints.parse import parse

PRINTABLE = st.text(alphabet=[chr(code) for code in range(0x20, 0x7F)], min_size=1, max_size=40)
NAMES = st.from_regex(r"[A-Za-z0-9_.:/-]{1,12}", fullmatch=True)
KEYS = st.from_regex(r"[a-z][a-z0-9_]{0,6}", fullmatch=True)
OUTPUTS = st.lists(
    st.builds(
        Output, NAMES, st.dictionaries(KEYS, PRINTABLE | st.booleans(), max_size=2).map(lambda d: tuple(d.items()))
    ),
    max_size=4,
    unique_by=lambda output: output.name,
)


def read(headers: dict[str, str]) -> Any:
    return parse([(name.encode("ascii"), value.encode("ascii")) for name, value in headers.items()])


def test_every_hint_is_read_back_as_it_was_said() -> None:
    said: dict[str, Any] = {
        "session": "run-42",
        "name": "map-reduce",
        "step": "reduce",
        "parent": "run-41",
        "inputs": ("plan", "files.0"),
        "outputs": (Output("plan"), Output("files", (("json", "$.files[*]"), ("strip", True), ("raw", False)))),
        "after": ("review",),
        "objective": Objective.LATENCY,
        "deadline_ms": 5000,
        "expected_tokens": 200,
        "mode": Mode.DEFERRED,
        "final": True,
        "idempotency_key": "k-1",
    }
    parsed = read(hint_headers(**said))
    assert {field: getattr(parsed.hint, field) for field in said} == said
    assert parsed.notes == ()


@given(PRINTABLE, PRINTABLE, OUTPUTS, st.lists(NAMES, max_size=4, unique=True))
def test_texts_and_lists_survive_the_way(session: str, step: str, outputs: list[Output], after: list[str]) -> None:
    hint = read(hint_headers(session=session, step=step, outputs=outputs, after=after)).hint
    assert (hint.session, hint.step) == (session, step)
    assert (hint.outputs, hint.after) == (tuple(outputs), tuple(after))


def test_what_is_left_out_is_not_sent() -> None:
    assert hint_headers() == {}
    assert hint_headers(session="s", outputs=[]) == {"x-workflow-session": "s"}


def test_lists_may_be_written_as_in_the_header() -> None:
    line = 'plan, files;json="$.files[*]"'
    assert hint_headers(outputs=line) == {"x-workflow-outputs": line}
    assert hint_headers(outputs=["plan", 'files;json="$.files[*]"']) == {"x-workflow-outputs": line}


@pytest.mark.parametrize(
    ("hints", "fault"),
    [
        ({"session": ""}, "session: the value is empty"),
        ({"session": "x" * 256}, "session: the value is longer"),
        ({"step": "a\nb"}, "step: the value holds a control character"),
        ({"name": "Überlauf"}, "name: a header carries ASCII only"),
        ({"inputs": ["my plan"]}, "inputs: 'my plan' is not a name"),
        ({"outputs": ["a", "a"]}, "outputs: an output is named twice"),
        ({"objective": "fast"}, "objective: the value is none of latency, throughput"),
        ({"deadline_ms": 0}, "deadline_ms: the value is not between"),
        ({"expected_tokens": -1}, "expected_tokens: the value is not between"),
        ({"mode": "later"}, "mode: the value is none of wait, deferred"),
    ],
)
def test_a_fault_is_named(hints: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        hint_headers(**hints)
