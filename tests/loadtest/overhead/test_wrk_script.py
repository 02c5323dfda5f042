import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import httptools
import pytest

from loadtest.mixes import Mix, body_templates, hint_headers, session_of
from loadtest.overhead import wrk
from loadtest.overhead.wrk import WrkError, parse_summary, run_wrk
from loadtest.overhead.wrk_script import ScriptPlan, lua_script

CONNECTIONS = 4


class Recorder(asyncio.Protocol):
    """Keeps every request and answers 200."""

    def __init__(self, seen: list[tuple[dict[str, str], bytes]]) -> None:
        self._seen = seen
        self._headers: dict[str, str] = {}
        self._body = b""
        self._parser = httptools.HttpRequestParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        self._headers, self._body = {}, b""

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode().lower()] = value.decode()

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        self._seen.append((self._headers, self._body))
        self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")


@pytest.fixture
def recorder() -> Iterator[tuple[int, list[tuple[dict[str, str], bytes]]]]:
    seen: list[tuple[dict[str, str], bytes]] = []
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(loop.create_server(lambda: Recorder(seen), "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield server.sockets[0].getsockname()[1], seen
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    server.close()
    loop.close()


@pytest.mark.skipif(not wrk.is_installed(), reason="wrk is not installed")
def test_wrk_sends_the_bodies_and_hints_of_the_plan(
    recorder: tuple[int, list[tuple[dict[str, str], bytes]]], tmp_path: Path
) -> None:
    port, seen = recorder
    templates = body_templates(Mix(300, hinted=True), 1)
    plan = ScriptPlan(templates, "bench-1", 5_000_000, CONNECTIONS, hinted=True, mean_think_ms=5.0)
    result = run_wrk(port, plan, 1, tmp_path)
    assert result.failed == 0
    assert 0 < result.calls <= len(seen)
    bodies = {body: headers for headers, body in seen}
    for number in range(1, len(seen)):  # wrk builds one request to look at and never sends it
        headers = bodies[templates[number % len(templates)].fill(5_000_000 + number)]
        assert headers.items() >= hint_headers("bench-1", *session_of(number, CONNECTIONS)).items()


def test_an_unhinted_script_sends_no_hints() -> None:
    script = lua_script(ScriptPlan(body_templates(Mix(300), 1), "r", 0, 1, hinted=False))
    assert "Workflow" not in script
    assert "delay" not in script


def test_the_summary_line_is_found_among_what_wrk_prints() -> None:
    line = 'WRK {"calls":10,"duration_us":2000000,"failed":1,"p50_us":150,"p99_us":900}'
    result = parse_summary(f"Running 2s test\n  1 threads\n\n{line}\n")
    assert (result.calls, result.failed, result.calls_per_s) == (10, 1, 5.0)
    assert (result.p50_ms, result.p99_ms) == (0.15, 0.9)


def test_output_without_a_summary_is_an_error_that_shows_it() -> None:
    with pytest.raises(WrkError, match="unable to connect"):
        parse_summary("", "unable to connect to 127.0.0.1:1")
