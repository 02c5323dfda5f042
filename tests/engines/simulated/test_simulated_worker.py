"""The simulated worker over its real HTTP face."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import orjson
import pytest

from engines.base import BadReply, Disconnected, EngineError, FirstByteTimeout, IdleTimeout
from engines.http import HttpClient
from engines.simulated import Behaviour, Fault, PriorityRule, SimulatedWorker, serve
from engines.simulated.__main__ import parser


@asynccontextmanager
async def running(**behaviour):
    worker = SimulatedWorker(Behaviour(**behaviour))
    async with serve(worker) as url:
        http = HttpClient(url)
        try:
            yield worker, http
        finally:
            await http.close()


def chat(text="What is the capital of France?", **fields):
    return {"model": "simulated", "messages": [{"role": "user", "content": text}], **fields}


async def post(http, path, body, headers=(), limit_s=2.0):
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    response = await http.send("POST", path, headers, raw, first_byte_s=limit_s, idle_s=limit_s)
    return response.status, await response.read_all(1 << 20)


async def ask(http, path, body, headers=()):
    status, raw = await post(http, path, body, headers)
    return status, orjson.loads(raw)


def events(raw):
    data = [line[6:] for line in raw.split(b"\n") if line.startswith(b"data: ")]
    return [orjson.loads(one) for one in data if one != b"[DONE]"]


async def test_chat_echoes_the_last_user_message():
    async with running() as (worker, http):
        status, reply = await ask(http, "/v1/chat/completions", chat(), [(b"x-request-id", b"r1")])
        assert (status, reply["model"]) == (200, "simulated")
        assert reply["choices"][0]["message"]["content"] == "echo: What is the capital of France?"
        assert (
            reply["usage"]["total_tokens"] == reply["usage"]["prompt_tokens"] + reply["usage"]["completion_tokens"]
        )
        received = worker.received[-1]
        assert received.path == "/v1/chat/completions"
        assert received.header(b"x-request-id") == b"r1"
        assert received.json() == chat()


@pytest.mark.parametrize("usage", [False, True])
async def test_a_chat_stream(usage):
    async with running() as (_, http):
        body = chat(stream=True, stream_options={"include_usage": usage})
        _, raw = await post(http, "/v1/chat/completions", body)
        assert raw.endswith(b"data: [DONE]\n\n")
        chunks = events(raw)
        text = "".join(c["choices"][0]["delta"].get("content", "") for c in chunks if c["choices"])
        assert text == "echo: What is the capital of France?"
        assert [c for c in chunks if "usage" in c] == (chunks[-1:] if usage else [])
        assert (chunks[-1]["choices"] == []) is usage


async def test_limits_and_samples():
    async with running(output_tokens=6, reasoning_tokens=2, tool_calls=True) as (_, http):
        _, reply = await ask(http, "/v1/chat/completions", chat(max_tokens=3))
        assert reply["choices"][0]["finish_reason"] == "length"
        assert reply["usage"]["completion_tokens"] == 3 + 2
        tools = [{"type": "function", "function": {"name": "search"}}]
        _, reply = await ask(http, "/v1/chat/completions", chat(tools=tools))
        assert reply["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "search"
        _, raw = await post(http, "/v1/chat/completions", chat(tools=tools, stream=True))
        deltas = [c["choices"][0]["delta"] for c in events(raw)]
        assert [d["reasoning"] for d in deltas if "reasoning" in d] == ["hm. ", "hm. "]
        calls = [d["tool_calls"][0]["function"] for d in deltas if "tool_calls" in d]
        assert orjson.loads("".join(call["arguments"] for call in calls)) == {"query": "weather"}


async def test_the_other_generating_routes():
    async with running() as (_, http):
        _, text = await ask(http, "/v1/completions", {"model": "simulated", "prompt": [1, 2, 3]})
        assert text["choices"][0]["text"] == "echo: 1 2 3"
        assert text["usage"]["prompt_tokens"] == 3
        _, raw = await post(http, "/v1/completions", {"model": "simulated", "prompt": "hi", "stream": True})
        assert "".join(c["choices"][0]["text"] for c in events(raw)) == "echo: hi"
        _, response = await ask(http, "/v1/responses", {"model": "simulated", "input": "hi"})
        assert response["output"][0]["content"][0]["text"] == "echo: hi"
        _, raw = await post(http, "/v1/responses", {"model": "simulated", "input": "hi", "stream": True})
        assert events(raw)[-1]["response"]["status"] == "completed"
        _, message = await ask(http, "/v1/messages", chat("hi", max_tokens=9))
        assert (message["content"][0]["text"], message["stop_reason"]) == ("echo: hi", "end_turn")
        _, raw = await post(http, "/v1/messages", chat("hi", max_tokens=9, stream=True))
        assert [e["type"] for e in events(raw)][-2:] == ["message_delta", "message_stop"]


async def test_the_pooling_routes():
    async with running() as (_, http):
        _, vectors = await ask(http, "/v1/embeddings", {"model": "simulated", "input": ["a", "b", "a"]})
        values = [item["embedding"] for item in vectors["data"]]
        assert values[0] == values[2] != values[1]
        body = {"model": "simulated", "query": "red car", "documents": ["blue sea", "a red car", "car"]}
        _, ranked = await ask(http, "/v1/rerank", body)
        assert [result["index"] for result in ranked["results"]] == [1, 2, 0]
        _, scored = await ask(http, "/v1/score", {"model": "simulated", "text_1": "a", "text_2": ["a", "b"]})
        assert [item["score"] for item in scored["data"]] == [1.0, 0.0]
        _, tokens = await ask(http, "/tokenize", {"model": "simulated", "prompt": "abcdefgh"})
        assert tokens["count"] == 2
        _, counted = await ask(http, "/v1/messages/count_tokens", chat("abcd"))
        assert counted["input_tokens"] > 0


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("/v1/chat/completions", b"{", 400),
        ("/v1/chat/completions", b"[]", 400),
        ("/v1/chat/completions", {"messages": []}, 400),
        ("/v1/chat/completions", chat(max_tokens=-1), 400),
        ("/v1/chat/completions", chat(model="other"), 404),
        ("/v1/chat/completions", chat("x" * 40_000), 400),
        ("/v1/completions", {}, 400),
        ("/v1/embeddings", {}, 400),
        ("/nowhere", {}, 404),
    ],
)
async def test_refusals(path, body, expected):
    async with running() as (_, http):
        assert (await ask(http, path, body))[0] == expected


async def test_an_api_key_is_asked_for():
    async with running(api_key="k") as (_, http):
        assert (await ask(http, "/v1/chat/completions", chat()))[0] == 401
        assert (await ask(http, "/v1/chat/completions", chat(), [(b"authorization", b"Bearer k")]))[0] == 200


async def test_cached_prefixes_are_reported_and_salted():
    def cached(reply):
        return reply["usage"]["prompt_tokens_details"]["cached_tokens"]

    async with running() as (worker, http):
        turns = chat("a long enough first message")
        _, first = await ask(http, "/v1/chat/completions", turns)
        turns["messages"] += [first["choices"][0]["message"], {"role": "user", "content": "and more"}]
        _, second = await ask(http, "/v1/chat/completions", turns)
        assert (cached(first), cached(second)) == (0, first["usage"]["prompt_tokens"])
        _, salted = await ask(http, "/v1/chat/completions", {**turns, "cache_salt": "other"})
        assert cached(salted) == 0
        assert worker.compute.prefix_hits_tokens == cached(second)
    async with running(prompt_tokens_details=False) as (_, http):
        assert "prompt_tokens_details" not in (await ask(http, "/v1/chat/completions", chat()))[1]["usage"]


@pytest.mark.parametrize(
    ("rule", "status"), [(PriorityRule.ORDERS, 200), (PriorityRule.IGNORED, 200), (PriorityRule.REFUSED, 400)]
)
async def test_priority_is_taken_by_rule(rule, status):
    async with running(priority=rule) as (_, http):
        assert (await ask(http, "/v1/chat/completions", chat(priority=5)))[0] == status


async def test_waiting_calls_run_by_priority(eventually):
    async with running(slots=1) as (worker, http):
        order = []

        async def call(name, priority):
            await ask(http, "/v1/chat/completions", chat(name, priority=priority))
            order.append(name)

        worker.set_fault(Fault.STALL_BEFORE_FIRST_BYTE, times=1)
        blocker = asyncio.ensure_future(post(http, "/v1/chat/completions", chat()))
        await eventually(lambda: worker.compute.running == 1)
        calls = []
        for waiting, (name, priority) in enumerate([("late", 9), ("early", 1), ("later", 9)], start=1):
            calls.append(asyncio.ensure_future(call(name, priority)))
            await eventually(lambda waiting=waiting: worker.compute.waiting == waiting)
        blocker.cancel()
        await asyncio.gather(*calls)
        assert order == ["early", "late", "later"]
        assert worker.compute.finished["abort"] == 1


async def test_speed_is_settable(eventually):
    async with running(decode_tokens_per_s=200, output_tokens=10, prefill_tokens_per_s=400) as (worker, http):
        loop = asyncio.get_running_loop()
        began = loop.time()
        await post(http, "/v1/chat/completions", chat("x" * 40, stream=True))
        assert loop.time() - began >= 0.05 + 11 / 400
        assert worker.compute.running == 0


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault.DIE_BEFORE_FIRST_BYTE, Disconnected),
        (Fault.DIE_MID_STREAM, Disconnected),
        (Fault.STALL_BEFORE_FIRST_BYTE, FirstByteTimeout),
        (Fault.STALL_MID_STREAM, IdleTimeout),
        (Fault.GARBAGE_HTTP, BadReply),
        (Fault.SLOW_HEADERS, FirstByteTimeout),
    ],
)
async def test_faults_that_break_the_reply(fault, error, stream, eventually):
    async with running(slow_header_s=0.005) as (worker, http):
        with pytest.raises(error):
            await post(
                http, "/v1/chat/completions", chat(stream=stream), [(b"x-fault", fault.encode())], limit_s=0.1
            )
        await eventually(lambda: (worker.compute.running, http.busy) == (0, 0))
        assert (await post(http, "/v1/chat/completions", chat()))[0] == 200


@pytest.mark.parametrize(("fault", "status"), [(Fault.ERROR_500, 500), (Fault.ERROR_429, 429)])
async def test_faults_that_answer(fault, status):
    async with running() as (_, http):
        assert (await ask(http, "/fault", {"fault": fault, "times": 1}))[0] == 200
        code, body = await ask(http, "/v1/chat/completions", chat())
        assert (code, body["error"]["code"]) == (status, status)
        assert (await ask(http, "/v1/chat/completions", chat()))[0] == 200


async def test_garbage_events():
    async with running() as (_, http):
        _, raw = await post(http, "/v1/chat/completions", chat(stream=True), [(b"x-fault", b"garbage-sse")])
        assert b"garbage without a colon" in raw


async def test_idle_connections_are_closed_on_demand(eventually):
    async with running() as (worker, http):
        await ask(http, "/v1/chat/completions", chat())
        assert worker.close_idle() == 1
        await eventually(lambda: http.idle == 0)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_goes_stops_the_computing(stream, eventually):
    async with running(decode_tokens_per_s=1, prefill_tokens_per_s=1e6) as (worker, http):
        call = asyncio.ensure_future(post(http, "/v1/chat/completions", chat(stream=stream)))
        await eventually(lambda: worker.compute.running == 1)
        assert worker.compute.counts().running == 1
        call.cancel()
        await eventually(lambda: worker.compute.running == 0)
        assert worker.compute.finished["abort"] == 1
        with pytest.raises(asyncio.CancelledError):
            await call


async def test_stopping_cuts_off_what_runs():
    worker = SimulatedWorker(Behaviour(decode_tokens_per_s=1))
    async with serve(worker) as url:
        http = HttpClient(url)
        call = asyncio.ensure_future(post(http, "/v1/chat/completions", chat()))
        while not worker.compute.running:
            await asyncio.sleep(0)
    with pytest.raises(EngineError):
        await call
    await http.close()


def test_every_setting_is_a_flag():
    options = vars(parser().parse_args(["--port", "1", "--model", "m", "--slots", "3", "--no-prefix-caching"]))
    del options["host"], options["port"], options["profile"], options["kv_events"]
    assert Behaviour(**options) == Behaviour(model="m", slots=3, prefix_caching=False)
