import asyncio
import http.client
import json

import pytest

from loadtest.mixes import CHAT_PATH, STREAM_CHUNKS, Mix, body_templates, stalled_body
from loadtest.mock_worker import REPLY_BYTES
from loadtest.overhead.generator import read_head


def ask(port: int, body: bytes) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("POST", CHAT_PATH, body, {"Content-Type": "application/json"})
        return connection.getresponse().read()
    finally:
        connection.close()


def events(raw: bytes) -> list[str]:
    return [line.removeprefix("data: ") for line in raw.decode().split("\n\n") if line]


def test_a_call_gets_a_chat_completion_of_300_bytes(mock_port: int) -> None:
    body = ask(mock_port, body_templates(Mix(65536), 1)[0].fill(0))
    assert len(body) == REPLY_BYTES
    assert json.loads(body)["choices"][0]["message"]["role"] == "assistant"


def test_a_stream_has_64_events_and_an_end(mock_port: int) -> None:
    for mix in (Mix(300, stream=True), Mix(300, stream=True, paced=True)):
        *chunks, end = events(ask(mock_port, body_templates(mix, 1)[0].fill(0)))
        assert len(chunks) == STREAM_CHUNKS
        assert json.loads(chunks[-1])["choices"][0]["finish_reason"] == "stop"
        assert end == "[DONE]"


def test_usage_is_streamed_when_it_was_asked_for_wherever_a_proxy_puts_the_fields(mock_port: int) -> None:
    call = json.loads(body_templates(Mix(4096, stream=True), 1)[0].fill(0))
    asked = {"messages": call["messages"], "stream": True, "stream_options": {"include_usage": True}}
    *_, usage, _ = events(ask(mock_port, json.dumps(asked).encode()))
    assert json.loads(usage)["usage"]["completion_tokens"] == STREAM_CHUNKS


async def test_a_stalled_stream_sends_its_first_event_and_no_more(mock_port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", mock_port)
    body = stalled_body()
    writer.write(f"POST {CHAT_PATH} HTTP/1.1\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
    await read_head(reader)
    assert b"data: {" in await reader.readuntil(b"\n\n\r\n")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(1), 0.2)
    writer.close()
    await writer.wait_closed()


def test_a_connection_serves_call_after_call(mock_port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", mock_port, timeout=10)
    for number in range(3):
        connection.request("POST", CHAT_PATH, body_templates(Mix(300), 1)[0].fill(number))
        assert connection.getresponse().read()
    connection.request("GET", "/nowhere")
    reply = connection.getresponse()
    reply.read()
    connection.close()
    assert reply.status == 404
