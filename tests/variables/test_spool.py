"""A producing stream, put together at its end: the cheap way to its texts agrees with the whole one."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.variables.spool import Spool
from gateway.variables.streamed_text import chat_texts
from gateway.wire.routes import Shape


def event(fields: object) -> bytes:
    return b"data: %b\n\n" % orjson.dumps(fields)


def chunk(index: int, text: str | None, reason: str | None = None) -> bytes:
    delta = {} if text is None else {"content": text}
    return event({"id": "c", "choices": [{"index": index, "delta": delta, "finish_reason": reason}]})


def stream(texts: list[list[str]], reason: str = "stop") -> bytes:
    events = [chunk(index, None if not said else said[0]) for index, said in enumerate(texts)]
    events += [chunk(index, piece) for index, said in enumerate(texts) for piece in said[1:]]
    events += [chunk(index, None, reason) for index in range(len(texts))]
    return b"".join(events) + b"data: [DONE]\n\n"


def produced(data: bytes, *, texts_only: bool, cut: int = 50):
    spool = Spool(Shape.CHAT)
    for start in range(0, len(data), cut):
        spool.feed(data[start : start + cut])
    return spool.produced(texts_only)


@given(st.lists(st.lists(st.text(max_size=20), max_size=5), min_size=1, max_size=3), st.integers(1, 200))
def test_both_ways_say_the_same(texts: list[list[str]], cut: int) -> None:
    data = stream(texts)
    quick, whole = produced(data, texts_only=True, cut=cut), produced(data, texts_only=False, cut=cut)
    assert quick is not None
    assert whole is not None
    assert (quick.texts, quick.finish_reasons) == (whole.texts, whole.finish_reasons)
    assert quick.texts == tuple("".join(said) for said in texts)


@pytest.mark.parametrize("texts_only", [True, False])
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"data: [DONE]\n\n",
        chunk(0, "half a"),
        chunk(0, "a") + event({"error": {"message": "no"}}),
        b"data: {not json}\n\n",
    ],
)
def test_what_did_not_end_well_gives_nothing(data: bytes, texts_only: bool) -> None:
    assert produced(data, texts_only=texts_only) is None


def test_a_stream_in_another_form_is_left_to_the_whole_way() -> None:
    data = stream([["hello"]]).replace(b"\n\n", b"\r\n\r\n")
    assert chat_texts(data) is None
    found = produced(data, texts_only=True)
    assert found is not None
    assert found.texts == ("hello",)
