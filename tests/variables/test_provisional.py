"""Reading along with a stream: each reader at its own pace, from the start, one choice of several."""

from __future__ import annotations

import orjson

from gateway.variables.plan import compile_plan
from gateway.variables.provisional import Provisional, streamed_outputs
from gateway.variables.spool import Spool
from gateway.wire.request import BodyLimits, parse_request
from gateway.wire.routes import ROUTES, Shape
from hints.parse import parse


def chunk(index: int, text: str) -> bytes:
    return b"data: %b\n\n" % orjson.dumps({"choices": [{"index": index, "delta": {"content": text}}]})


def test_each_reader_has_its_place_and_its_choice() -> None:
    spool = Spool(Shape.CHAT)
    first, second = Provisional(spool, Shape.CHAT, 0), Provisional(spool, Shape.CHAT, 1)
    stream = chunk(0, "a") + chunk(1, "x") + chunk(0, "b")
    spool.feed(stream[:20])
    assert first.more() == ""
    spool.feed(stream[20:])
    assert (first.more(), first.more()) == ("ab", "")
    spool.feed(chunk(1, "y"))
    assert (first.more(), second.more()) == ("", "xy")


def test_a_stream_that_is_too_long_gives_no_more() -> None:
    spool = Spool(Shape.CHAT)
    reader = Provisional(spool, Shape.CHAT, 0)
    spool.feed(chunk(0, "a"))
    assert reader.more() == "a"
    spool._bytes = 1 << 40
    spool.feed(chunk(0, "b"))
    assert reader.more() == ""


def test_only_what_is_said_as_it_is_can_be_read_along() -> None:
    several = b"a, b;strip, c;json"
    for n, outputs, expected in (
        (1, several + b", d;each;json", {"a": 0, "b": 0}),
        (2, several, {"a.0": 0, "a.1": 1, "b.0": 0, "b.1": 1}),
    ):
        headers = [(b"x-workflow-session", b"s"), (b"x-workflow-outputs", outputs)]
        body = orjson.dumps({"model": "m", "messages": [], "n": n})
        request = parse_request(ROUTES[b"/v1/chat/completions"], body, BodyLimits())
        plan = compile_plan(request, parse(headers, request.fields).hint)
        assert streamed_outputs(plan, request) == expected


def test_several_prompts_are_several_replies_and_their_list_has_items() -> None:
    headers = [(b"x-workflow-session", b"s"), (b"x-workflow-outputs", b"a")]
    for prompt, n, names in (
        (["x", "y"], 1, {"a.0": 0, "a.1": 1}),
        (["x", "y"], 2, {"a.0": 0, "a.1": 1, "a.2": 2, "a.3": 3}),
        ([1, 2, 3], 1, {"a": 0}),
        (["x"], 1, {"a": 0}),
    ):
        body = orjson.dumps({"model": "m", "prompt": prompt, "n": n})
        request = parse_request(ROUTES[b"/v1/completions"], body, BodyLimits())
        plan = compile_plan(request, parse(headers, request.fields).hint)
        assert streamed_outputs(plan, request) == names
        assert plan.lists == (("a",) if len(names) > 1 else ())
