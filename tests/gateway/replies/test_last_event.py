"""`[DONE]` waits for what comes after it; nothing else does, and nothing is lost."""

from __future__ import annotations

from starlette.types import Message

from gateway.replies.last_event import LastEvent


def piece(body: bytes, *, more: bool = True) -> Message:
    message: Message = {"type": "http.response.body", "body": body}
    return message | {"more_body": True} if more else message


async def sent(*messages: Message) -> list[Message]:
    found: list[Message] = []

    async def send(message: Message) -> None:
        found.append(message)

    last = LastEvent(send)
    for message in messages:
        await last.send(message)
    return found


async def test_done_goes_out_with_the_end_of_the_stream() -> None:
    end = piece(b"", more=False)
    assert await sent(piece(b"data: {}\n\n"), piece(b"data: [DONE]\n\n")) == [piece(b"data: {}\n\n")]
    assert await sent(piece(b"data: {}\n\ndata: [DONE]\n\n"), end) == [
        piece(b"data: {}\n\n"),
        piece(b"data: [DONE]\n\n", more=False),
    ]


async def test_a_text_that_speaks_of_it_is_held_for_a_piece_at_most() -> None:
    odd = [piece(b'data: {"text": "data: [DONE]'), piece(b' is the end"}\n\n'), piece(b"", more=False)]
    found = await sent(*odd)
    assert b"".join(message["body"] for message in found) == b"".join(message["body"] for message in odd)
    assert len(found) == 3


async def test_what_is_no_body_passes() -> None:
    start: Message = {"type": "http.response.start", "status": 200, "headers": []}
    assert await sent(start, piece(b"x"), piece(b"y", more=False)) == [start, piece(b"x"), piece(b"y", more=False)]
