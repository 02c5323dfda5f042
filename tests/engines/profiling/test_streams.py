"""What counts as a token in a stream, as vLLM and others write it."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from engines.base import BadReply
from engines.profiling.streams import Stream, stream

USAGE = {"prompt_tokens": 7, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 3}}
ROLE = {"delta": {"role": "assistant", "content": ""}, "finish_reason": None}


def chunk(text: str | None, finish: str | None = None) -> dict[str, Any]:
    return {"delta": {} if text is None else {"content": text}, "finish_reason": finish}


class Reply:
    """A reply in one piece, cut in the middle of a line."""

    def __init__(self, choices: list[dict[str, Any]], status: int = 200) -> None:
        events = [{"choices": [choice]} for choice in choices] + [{"choices": [], "usage": USAGE}]
        raw = b"".join(b"data: " + orjson.dumps(event) + b"\n\n" for event in events) + b"data: [DONE]\n\n"
        self.status, self.headers = status, ()
        self.pieces = [raw[:40], raw[40:], b""]
        self.is_aborted = False

    async def read(self) -> bytes:
        return self.pieces.pop(0)

    async def read_all(self, limit_bytes: int) -> bytes:
        return b"no such model"

    def abort(self) -> None:
        self.is_aborted = True


class Answers:
    def __init__(self, reply: Reply) -> None:
        self._reply = reply

    async def send(self, *_: Any, **__: Any) -> Reply:
        return self._reply


async def seen(*choices: dict[str, Any], status: int = 200) -> Stream:
    return await stream(Answers(Reply(list(choices), status)), "m", "hello", 2)  # type: ignore[arg-type]


async def test_the_opening_is_no_token_and_a_token_may_have_no_text() -> None:
    vllm = await seen(ROLE, chunk("a"), chunk("", "length"))
    assert (len(vllm.tokens_s), vllm.prompt_tokens, vllm.cached_tokens, vllm.completion_tokens) == (2, 7, 3, 2)
    assert len((await seen(ROLE, chunk("a"), chunk("b"), chunk(None, "stop"))).tokens_s) == 2
    assert len((await seen({"delta": {"role": "assistant", "content": "a"}}, chunk("b", "stop"))).tokens_s) == 2
    assert len((await seen(ROLE, {"delta": {"reasoning": "hm"}}, chunk("b", "stop"))).tokens_s) == 2


async def test_a_reply_of_one_silent_token_came_when_it_ended() -> None:
    assert len((await seen(ROLE, chunk(None, "length"))).tokens_s) == 1


async def test_what_is_no_stream_of_tokens_is_told() -> None:
    with pytest.raises(BadReply, match="404: no such model"):
        await seen(status=404)
    with pytest.raises(BadReply, match="no tokens"):
        await seen(ROLE)


@pytest.mark.parametrize("event", [b"{broken", b"[]", b'{"usage": {"prompt_tokens": 7}}'])
async def test_an_event_that_is_none_ends_the_call(event: bytes) -> None:
    reply = Reply([ROLE, chunk("a", "stop")])
    reply.pieces.insert(0, b"data: " + event + b"\n")
    with pytest.raises(BadReply, match="an event that is none"):
        await stream(Answers(reply), "m", "hello", 2)  # type: ignore[arg-type]
    assert reply.is_aborted
