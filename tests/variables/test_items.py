"""Lists read from a stream: any split of any document gives the items that the whole document has."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.variables.items import ListScanner, ScanState

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=9)
)
documents = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@st.composite
def written(draw: st.DrawFn, value: st.SearchStrategy[Any]) -> tuple[Any, str]:
    """A document and one of the ways to write it."""
    document = draw(value)
    text = json.dumps(document, indent=draw(st.sampled_from([None, 0, 2])), ensure_ascii=draw(st.booleans()))
    return document, text


def cut(text: str, cuts: list[int]) -> list[str]:
    places = sorted({0, len(text), *(c % (len(text) + 1) for c in cuts)})
    return [text[a:b] for a, b in pairwise(places)]


def scan(scanner: ListScanner, pieces: list[str]) -> list[Any]:
    return [json.loads(item) for piece in pieces for item in scanner.feed(piece)]


@given(
    written(st.lists(documents, max_size=5)),
    st.lists(st.integers(0, 500), max_size=12),
    st.sampled_from(["", "Here:\n", "```json\n", "The plan {as told} [see below]:\n```\n"]),
    st.sampled_from(["", "\n```", " and [more]"]),
)
def test_any_split_gives_the_items_in_order(
    listed: tuple[list[Any], str], cuts: list[int], before: str, after: str
) -> None:
    document, text = listed
    scanner = ListScanner()
    assert scan(scanner, cut(before + text + after, cuts)) == document
    assert scanner.state is ScanState.ENDED
    assert scanner.count == len(document)


@given(
    written(st.dictionaries(st.sampled_from(["a", "b\n", 'c"', "f"]), documents, max_size=4)),
    st.lists(documents, max_size=4),
    st.lists(st.integers(0, 500), max_size=12),
)
def test_a_list_below_other_members(rest: tuple[dict[str, Any], str], items: list[Any], cuts: list[int]) -> None:
    text = json.dumps({**rest[0], "files": [rest[0], {"x": items}]})
    scanner = ListScanner(("files", 1, "x"))
    assert scan(scanner, cut(text, cuts)) == items
    assert scanner.state is ScanState.ENDED


@given(written(st.lists(documents, min_size=1, max_size=4)))
def test_an_item_is_given_out_with_its_delimiter(listed: tuple[list[Any], str]) -> None:
    """Fed one character at a time, each item comes as soon as a comma or the bracket shows that it is whole."""
    document, text = listed
    scanner = ListScanner()
    for index, char in enumerate(text):
        before = scanner.count
        if scanner.feed(char):
            assert char in ",]"
            assert scanner.count == before + 1
            assert index > 0
    assert scanner.count == len(document)


@given(st.text('[]{},:"\\ \n1etrufals-', max_size=60), st.lists(st.integers(0, 60), max_size=6))
def test_hostile_text_is_read_alike_however_it_is_cut(text: str, cuts: list[int]) -> None:
    whole, pieces = ListScanner(), ListScanner()
    items = whole.feed(text)
    assert [item for piece in cut(text, cuts) for item in pieces.feed(piece)] == items
    assert (whole.state, whole.count) == (pieces.state, pieces.count)
    for item in items:
        json.loads(item)


@given(written(documents.filter(lambda document: isinstance(document, dict | list))))
def test_what_is_no_list_never_ends(made: tuple[Any, str]) -> None:
    _, text = made
    scanner = ListScanner(("no such key",))
    assert scanner.feed(text) == []
    scanner.end()
    assert scanner.state is ScanState.FAILED
    assert scanner.reason


@pytest.mark.parametrize(
    ("text", "items", "state"),
    [
        ("[1, 2", ["1"], ScanState.OPEN),
        ("[1, 2,", ["1", "2"], ScanState.OPEN),
        ("[]", [], ScanState.ENDED),
        ("[1,]", ["1"], ScanState.FAILED),
        ("[1 2, 3]", [], ScanState.SEARCHING),
        ('{"a": [1]}', [], ScanState.FAILED),
        ("no list", [], ScanState.SEARCHING),
        ("[NaN] then [1]", ["1"], ScanState.ENDED),
    ],
)
def test_states(text: str, items: list[str], state: ScanState) -> None:
    scanner = ListScanner()
    assert scanner.feed(text) == items
    assert scanner.state is state


def test_an_item_over_the_limit_ends_the_scan() -> None:
    scanner = ListScanner(limit_chars=100)
    for _ in range(60):
        scanner.feed('["ab' if not scanner.count and scanner.state is ScanState.SEARCHING else "ab")
    assert scanner.state is ScanState.FAILED
    assert "100 characters" in str(scanner.reason)


@pytest.mark.parametrize("filler", ["[", "{", '["', "[[1,", '{"a":[', "[1 ", '"\\', "a" * 50])
def test_hostile_streams_in_small_pieces_take_linear_time(filler: str) -> None:
    scanner = ListScanner(("a",))
    text = '{"x": "' + filler * (300_000 // len(filler))
    for start in range(0, len(text), 3):
        scanner.feed(text[start : start + 3])
    assert scanner.count == 0
