"""The benchmark's upstream: an OpenAI-speaking server that costs almost nothing.

    python -m loadtest.mock_worker --port 9001 --port 9002

A chat call gets a 300-byte JSON reply; a streamed one 64 server-sent events, each written alone: one after the
other, or 1 ms apart when the prompt holds `[paced]`. After `[stall]` comes one event and then nothing.
"""

import argparse
import asyncio
import json
import signal
from collections.abc import Sequence
from typing import cast

import httptools
import uvloop

from loadtest.mixes import MODEL, PACED_MARK, STALL_MARK, STREAM_CHUNKS

REPLY_BYTES = 300
PACE_S = 0.001


def _json_response(value: object, status: str = "200 OK") -> bytes:
    return _response(json.dumps(value, separators=(",", ":")).encode(), status)


def _response(body: bytes, status: str = "200 OK", content_type: str = "application/json") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def _reply() -> bytes:
    def body(content: str) -> bytes:
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": content},
            "finish_reason": "stop",
        }
        usage = {"prompt_tokens": 64, "completion_tokens": 16, "total_tokens": 80}
        reply = {"id": "chatcmpl-0", "object": "chat.completion", "created": 1, "model": MODEL}
        return json.dumps(reply | {"choices": [choice], "usage": usage}, separators=(",", ":")).encode()

    return _response(body("x" * (REPLY_BYTES - len(body("")))))


def _event(choices: list[dict[str, object]], usage: dict[str, int] | None = None) -> bytes:
    chunk: dict[str, object] = {"id": "chatcmpl-0", "object": "chat.completion.chunk", "created": 1}
    chunk |= {"model": MODEL, "choices": choices}
    if usage is not None:
        chunk["usage"] = usage
    return b"data: " + json.dumps(chunk, separators=(",", ":")).encode() + b"\n\n"


def _http_chunk(payload: bytes) -> bytes:
    return f"{len(payload):x}\r\n".encode() + payload + b"\r\n"


def _content_events() -> list[bytes]:
    def choice(text: str, finish: str | None) -> dict[str, object]:
        return {"index": 0, "delta": {"content": text}, "finish_reason": finish}

    events = [_event([choice(" word", None)]) for _ in range(STREAM_CHUNKS - 1)]
    return [_http_chunk(event) for event in [*events, _event([choice("", "stop")])]]


_USAGE = {"prompt_tokens": 64, "completion_tokens": STREAM_CHUNKS, "total_tokens": 64 + STREAM_CHUNKS}
_REPLY = _reply()
_EVENTS = _content_events()
_USAGE_EVENT = _http_chunk(_event([], _USAGE))
_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"
)
_STREAM_END = _http_chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"
_MODEL_CARD = {"id": MODEL, "object": "model", "owned_by": "loadtest", "root": MODEL, "max_model_len": 131072}
_PAGES = {
    b"/health": _response(b""),
    b"/ping": _response(b""),
    b"/version": _json_response({"version": "0.32.0"}),
    b"/v1/models": _json_response({"object": "list", "data": [_MODEL_CARD]}),
    b"/metrics": _response(
        b'vllm:num_requests_running{model_name="mock"} 0.0\n'
        b'vllm:num_requests_waiting{model_name="mock"} 0.0\n'
        b'vllm:kv_cache_usage_perc{model_name="mock"} 0.0\n',
        content_type="text/plain; version=0.0.4",
    ),
}
_MISSING = _json_response({"error": {"message": "no such route", "type": "not_found"}}, "404 Not Found")
_STREAM_FLAG = b'"stream":true'
_USAGE_FLAG = b'"include_usage":true'
_STALL_FLAG = STALL_MARK.encode()
_PACED_FLAG = PACED_MARK.encode()
_EDGE_BYTES = 512
"""Flags are looked for at both ends of the body: proxies that write it anew may move them from one to the other."""


class MockWorker(asyncio.Protocol):
    """One client connection; answers from constants, one request at a time."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._gap_s = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._body: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport; the parser calls back into this object."""
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop a running stream: nobody reads it any more."""
        if self._timer is not None:
            self._timer.cancel()
        self._transport = None

    def data_received(self, data: bytes) -> None:
        """Feed the parser; a broken request closes the connection."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            if self._transport is not None:
                self._transport.close()

    def on_url(self, url: bytes) -> None:
        """Parser callback: a request begins."""
        self._url = url
        self._body.clear()

    def on_body(self, body: bytes) -> None:
        """Parser callback: a piece of the body."""
        self._body.append(body)

    def on_message_complete(self) -> None:
        """Parser callback: answer the request just read."""
        if self._transport is None:
            return
        if not self._body:
            self._transport.write(_PAGES.get(self._url, _MISSING))
            return
        edges = (self._body[0][:_EDGE_BYTES] + self._body[-1][-_EDGE_BYTES:]).replace(b'": ', b'":')
        if _STREAM_FLAG in edges:
            self._start_stream(edges)
        else:
            self._transport.write(_REPLY)

    def _start_stream(self, edges: bytes) -> None:
        assert self._transport is not None
        self._transport.write(_STREAM_HEAD + _EVENTS[0])
        self._gap_s = PACE_S if _PACED_FLAG in edges else 0.0
        if _STALL_FLAG not in edges:
            self._later(1, _USAGE_FLAG in edges)

    def _later(self, index: int, with_usage: bool) -> None:
        self._timer = self._loop.call_later(self._gap_s, self._write_event, index, with_usage)

    def _write_event(self, index: int, with_usage: bool) -> None:
        if self._transport is None:
            return
        if index + 1 < STREAM_CHUNKS:
            self._transport.write(_EVENTS[index])
            self._later(index + 1, with_usage)
        else:
            usage = _USAGE_EVENT if with_usage else b""
            self._transport.write(_EVENTS[index] + usage + _STREAM_END)


async def serve(ports: Sequence[int]) -> None:
    """Listen on every port of 127.0.0.1 until SIGINT or SIGTERM."""
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stopped.set)
    servers = [
        await loop.create_server(lambda: MockWorker(loop), "127.0.0.1", port, backlog=2048) for port in ports
    ]
    await stopped.wait()
    for server in servers:
        server.close()


def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.mock_worker", description=__doc__)
    parser.add_argument("--port", type=int, action="append", required=True)
    arguments = parser.parse_args(argv)
    uvloop.run(serve(arguments.port))


if __name__ == "__main__":
    main()
