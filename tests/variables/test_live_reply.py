"""Items out of a stream: the same as out of the whole reply, each as soon as it is there."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.variables.live_reply import LiveReply
from gateway.variables.producers import compile_outputs
from gateway.variables.transforms import produce
from gateway.variables.values import TransformFailed
from gateway.wire.routes import Shape
from hints.model import Output

EACH = compile_outputs([Output("files", (("json", "$.all"), ("each", True)))])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-99, 99) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


def live(limit_bytes: int = 1000) -> LiveReply:
    return LiveReply(Shape.CHAT, EACH, limit_bytes)


def event(delta: dict[str, Any], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return b"data: %b\n\n" % orjson.dumps({"id": "c", "model": "m", "choices": [choice]})


def stream(text: str, size: int, finish: str = "stop") -> bytes:
    pieces = [text[start : start + size] for start in range(0, len(text), size)]
    return b"".join([*(event({"content": piece}) for piece in pieces), event({}, finish), b"data: [DONE]\n\n"])


@given(
    st.lists(JSON, max_size=6),
    st.integers(1, 9),
    st.lists(st.integers(0, 4000), max_size=9),
    st.text("ab ", max_size=9),
)
def test_the_items_are_those_of_the_whole_reply(items: list[Any], size: int, cuts: list[int], prose: str) -> None:
    whole = stream(f"{prose}{orjson.dumps({'before': [1], 'all': items}).decode()} {prose}", size)
    bounds = sorted({0, len(whole), *(cut % (len(whole) + 1) for cut in cuts)})
    reply = live()
    found = {}
    for start, end in pairwise(bounds):
        found |= reply.feed(whole[start:end])
    reply.end()
    produced = reply.produced()
    assert produced is not None
    values = produce(EACH, produced)
    assert found == {name: value for name, value in values.items() if name != "files"}
    assert values["files"].items == len(found) == len(items)


def test_an_item_is_given_out_with_the_piece_that_completes_it() -> None:
    reply = live()
    assert not reply.feed(event({"content": '{"all": ["a'}))
    assert not reply.feed(event({"content": '"'}))
    assert [value.text for value in reply.feed(event({"content": ', {"b": 1}, '})).values()] == ["a", '{"b": 1}']
    assert not reply.feed(event({"content": "12"}))
    assert list(reply.feed(event({"content": "]"}))) == ["files.2"]


@pytest.mark.parametrize("text", ['{"other": []}', '{"all": {}}', '{"all": ["a", nope]}', '{"all": "x"}'])
def test_what_is_no_list_is_told_once_and_at_once(text: str) -> None:
    reply = live()
    with pytest.raises(TransformFailed) as failed:
        reply.feed(event({"content": text}))
    assert failed.value.name == "files"
    assert not reply.feed(event({"content": "]"}, "stop"))
    reply.end()
    assert reply.produced() is not None


def test_an_item_over_the_limit_is_a_failure_before_it_is_whole() -> None:
    reply = live(limit_bytes=10)
    with pytest.raises(TransformFailed, match="limit"):
        reply.feed(event({"content": '{"all": ["' + "x" * 20}))


def test_a_stream_that_breaks_off_gives_no_whole_reply() -> None:
    reply = live()
    assert list(reply.feed(event({"content": '{"all": ["a", "b'}))) == ["files.0"]
    reply.end()
    assert reply.produced() is None
