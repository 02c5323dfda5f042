"""Hints through a whole gateway: what is understood, what it does, and what a bad one costs (nothing, or a 400)."""

from __future__ import annotations

import asyncio
import time
from itertools import pairwise
from typing import Any

import httpx
import pytest

from engines.simulated import Behaviour
from gateway.schedule.events import Arrived
from hints.model import Objective

SESSION = {"x-workflow-session": "run-1"}
ECHO = Behaviour(tool_calls=True)


async def view(rig: Any, session: str = "run-1") -> dict[str, Any]:
    reply = await rig.client.get(f"/v1/workflow/sessions/{session}")
    assert reply.status_code == 200, reply.text
    document: dict[str, Any] = reply.json()
    return document


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


async def converse(rig: Any, messages: list[Any], headers: dict[str, str] | None = None, **fields: Any) -> Any:
    body = {"model": "simulated", "messages": messages, **fields}
    reply = await rig.client.post("/v1/chat/completions", json=body, headers=headers or {})
    assert reply.status_code == 200, reply.text
    return reply


def said(reply: httpx.Response) -> dict[str, Any]:
    message: dict[str, Any] = reply.json()["choices"][0]["message"]
    return message


async def test_a_hinted_reply_says_what_was_understood_and_where_it_ran(rig) -> None:
    headers = {**SESSION, "x-workflow-step": "plan", "x-workflow-sesion": "typo", "x-workflow-objective": "quickly"}
    reply = await rig.chat("hi", headers=headers)
    assert reply.headers["x-workflow-session"] == "run-1"
    assert reply.headers["x-workflow-call"].startswith("call-")
    assert reply.headers["x-workflow-worker"] in ("w0", "w1")
    assert int(reply.headers["x-workflow-queue-ms"]) >= 0
    assert reply.headers["x-workflow-hints"] == "session, step"
    notes = reply.headers["x-workflow-notes"].split(", ")
    assert "unknown-header;x-workflow-sesion;did-you-mean=x-workflow-session" in notes
    assert "ignored;x-workflow-objective;reason=unknown-value" in notes


async def test_streams_and_errors_carry_the_same_headers(rig) -> None:
    for reply in (
        await rig.chat("hi", headers=SESSION, stream=True),
        await rig.chat("hi", headers={**SESSION, "x-fault": "error-429"}),
        await rig.chat("hi", headers={**SESSION, "x-workflow-outputs": 'plan;regex="("'}),
    ):
        assert reply.headers["x-workflow-session"] == "run-1"
        assert reply.headers["x-workflow-call"].startswith("call-")


async def test_an_unhinted_reply_names_its_call_and_worker_only(rig) -> None:
    reply = await rig.chat("hi")
    names = {name for name in reply.headers if name.startswith("x-workflow-")}
    assert names == {"x-workflow-call", "x-workflow-worker", "x-workflow-queue-ms"}


CORRECTED = {
    "x-workflow-inputs": ("plan files", "x-workflow-inputs: plan-files"),
    "x-workflow-outputs": ("a, a", "x-workflow-outputs: a"),
    "x-workflow-after": ("(plan)", "x-workflow-after: plan"),
    "x-workflow-mode": ("defered", "x-workflow-mode: deferred"),
}


@pytest.mark.parametrize("header", CORRECTED)
async def test_a_bad_data_hint_is_a_400_with_the_line_to_send(rig, header: str) -> None:
    value, corrected = CORRECTED[header]
    reply = await rig.chat("hi", headers={**SESSION, header: value})
    error = reply.json()["error"]
    assert reply.status_code == 400
    assert (error["code"], error["type"]) == ("invalid_hint", "invalid_request_error")
    assert error["param"] == header.removeprefix("x-workflow-")
    assert error["message"].endswith(f"Send instead: {corrected}")


async def test_data_hints_without_a_session_are_a_400_that_says_how(rig) -> None:
    reply = await rig.chat("hi", headers={"x-workflow-outputs": "plan"})
    assert reply.status_code == 400
    assert "x-workflow-session: run-42" in reply.json()["error"]["message"]


async def test_what_this_store_cannot_do_is_a_501_that_no_sdk_retries(rig) -> None:
    reply = await rig.chat("hi", headers={**SESSION, "x-workflow-mode": "deferred"})
    assert reply.status_code == 501
    assert reply.json()["error"]["code"] == "store_not_durable"
    assert reply.headers["x-should-retry"] == "false"
    assert all(request.method != "POST" for worker in rig.workers for request in worker.received)


async def test_after_a_step_that_has_ended_a_call_runs_and_the_order_is_an_edge(rig) -> None:
    first = await rig.chat("one", headers={**SESSION, "x-workflow-step": "plan"})
    second = await rig.chat("two", headers={**SESSION, "x-workflow-after": "plan"})
    assert second.status_code == 200, second.text
    (edge,) = (await view(rig))["edges"]
    assert edge["from"] == first.headers["x-workflow-call"]
    assert edge["to"] == second.headers["x-workflow-call"]
    assert (edge["kind"], edge["known_by"]) == ("order", "hint")


async def test_after_a_step_that_still_runs_a_call_waits(make_rig) -> None:
    rig = await make_rig(Behaviour(decode_tokens_per_s=100, output_tokens=20))
    running = asyncio.create_task(rig.chat("one", headers={**SESSION, "x-workflow-step": "plan"}))
    await rig.until(lambda: rig.workers[0].compute.running)
    follower = asyncio.create_task(rig.chat("two", headers={**SESSION, "x-workflow-after": "plan"}))
    await rig.until(lambda: rig.gateway.parking.parked)
    assert (await running).status_code == 200
    assert (await follower).status_code == 200


BAD_STEERING = {
    "x-workflow-name": "x" * 300,
    "x-workflow-step": "",
    "x-workflow-parent": '""',
    "x-workflow-objective": "fast",
    "x-workflow-deadline-ms": "soon",
    "x-workflow-expected-tokens": "-3",
    "x-workflow-final": "maybe",
    "idempotency-key": "k" * 256,
    "traceparent": "00-xyz",
    "baggage": ",,;;==",
    "langsmith-trace": "?",
    "x-claude-code-session-id": "s" * 4000,
    "x-codex-turn-metadata": "{not json",
    "x-llm-d-slo-ttft-ms": "NaN",
    "x-stainless-retry-count": "many",
    "x-stainless-read-timeout": "-inf",
}


@pytest.mark.parametrize("header", BAD_STEERING)
async def test_a_bad_steering_hint_never_fails_a_call(rig, header: str) -> None:
    value = BAD_STEERING[header].encode()
    reply = await rig.chat("hi", headers={**SESSION, header: value})
    assert reply.status_code == 200, reply.text
    assert reply.headers["x-workflow-session"] == "run-1"


@pytest.mark.parametrize(
    "fields",
    [
        {"metadata": "x"},
        {"metadata": {"session_id": ["a"]}},
        {"user": {"a": 1}},
        {"prompt_cache_key": 3.5},
        {"service_tier": "golden"},
        {"nvext": {"agent_hints": {"priority": "high", "osl": -1}}},
        {"session_id": "x" * 1000},
        {"trace": [1]},
        {"tensorzero::episode_id": None},
        {"priority": "urgent"},
        {"workflow": {"deadline_ms": {}, "objective": 7, "sesion": "x"}},
    ],
)
async def test_bad_steering_fields_of_a_body_never_fail_a_call(rig, fields: dict[str, Any]) -> None:
    reply = await rig.chat("hi", **fields)
    assert reply.status_code == 200, reply.text


@pytest.fixture
def arrivals(monkeypatch: pytest.MonkeyPatch):
    """The calls that a gateway's core is told of."""

    def watch(rig: Any) -> list[Any]:
        seen: list[Any] = []
        scheduler = rig.gateway.loop.scheduler

        class Watched:
            def __getattr__(self, name: str) -> Any:
                return getattr(scheduler, name)

            def on(self, event: Any, now_s: float) -> Any:
                if isinstance(event, Arrived):
                    seen.append(event.call)
                return scheduler.on(event, now_s)

        monkeypatch.setattr(rig.gateway.loop, "scheduler", Watched())
        return seen

    return watch


STEERING = {
    **SESSION,
    "x-workflow-objective": "throughput",
    "x-workflow-deadline-ms": "5000",
    "x-workflow-expected-tokens": "321",
}


@pytest.mark.plain
async def test_steering_hints_reach_the_core(rig, arrivals) -> None:
    seen = arrivals(rig)
    await rig.chat("hi", headers=STEERING, nvext={"agent_hints": {"priority": 3}})
    (call,) = seen
    assert call.program == "default\0run-1"
    assert call.objective is Objective.THROUGHPUT
    assert call.deadline_s == pytest.approx(call.arrived_s + 5.0)
    assert call.output_tokens == 321
    assert call.priority > 0


@pytest.mark.plain
@pytest.mark.parametrize("mode", ["off", "observe"])
async def test_hints_that_are_off_or_observed_steer_nothing(make_rig, arrivals, mode: str) -> None:
    rig = await make_rig(Behaviour(), hints__mode=mode)
    seen = arrivals(rig)
    reply = await rig.chat("hi", headers=STEERING, nvext={"agent_hints": {"priority": 3}})
    (call,) = seen
    assert (call.program, call.objective, call.deadline_s, call.priority) == (None, None, None, 0)
    if mode == "observe":
        assert reply.headers["x-workflow-session"] == "run-1"
        assert "deadline-ms" in reply.headers["x-workflow-hints"]
        assert (await view(rig))["totals"]["calls"] == 1
    else:
        assert "x-workflow-session" not in reply.headers
        assert "x-workflow-hints" not in reply.headers
        assert (await rig.client.get("/v1/workflow/sessions/run-1")).status_code == 404


async def test_with_hints_off_even_a_data_hint_changes_nothing(make_rig) -> None:
    rig = await make_rig(Behaviour(), hints__mode="off")
    assert (await rig.chat("hi", headers={"x-workflow-inputs": "nobody"})).status_code == 200
    assert (await rig.chat("hi", workflow={"inputs": "nobody"})).status_code == 200


async def test_our_body_field_beats_our_header_and_never_reaches_the_worker(rig) -> None:
    reply = await rig.chat("hi", headers=SESSION, workflow={"session": "Läuf 2", "step": "plan"})
    assert reply.headers["x-workflow-session"] == "L?uf 2"
    assert "session;from=workflow.session" in reply.headers["x-workflow-hints"]
    (request,) = [request for worker in rig.workers for request in worker.received if request.method == "POST"]
    assert "workflow" not in request.json()
    assert (await view(rig, "L%C3%A4uf%202"))["session"] == "Läuf 2"


FOREIGN = {
    "Claude Code": ({"x-claude-code-session-id": "s-1"}, {}),
    "Codex": ({"session-id": "s-1"}, {}),
    "OpenCode": ({"x-opencode-session": "s-1"}, {}),
    "Dynamo": ({"x-dynamo-session-id": "s-1"}, {}),
    "LiteLLM": ({"x-litellm-session-id": "s-1"}, {}),
    "Helicone": ({"helicone-session-id": "s-1"}, {}),
    "OpenRouter": ({}, {"session_id": "s-1"}),
    "TensorZero": ({}, {"tensorzero::episode_id": "s-1"}),
    "OpenAI": ({}, {"prompt_cache_key": "s-1"}),
}


@pytest.mark.parametrize("source", FOREIGN)
async def test_sessions_other_clients_name_are_sessions(rig, source: str) -> None:
    headers, fields = FOREIGN[source]
    reply = await rig.chat("hi", headers=headers, **fields)
    assert reply.headers["x-workflow-session"] == "s-1"
    assert reply.headers["x-workflow-hints"].startswith("session;from=")
    assert (await view(rig, "s-1"))["totals"]["calls"] == 1


async def test_a_conversation_without_hints_is_one_session(rig) -> None:
    messages: list[Any] = [user("Tell me of the sea, at some length please.")]
    replies = []
    for turn in range(4):
        replies.append(await converse(rig, messages))
        messages += [said(replies[-1]), user(f"And then, in chapter {turn}?")]
    sessions = {reply.headers.get("x-workflow-session") for reply in replies[1:]}
    assert len(sessions) == 1
    assert len({reply.headers["x-workflow-worker"] for reply in replies}) == 1
    (session,) = sessions
    document = await view(rig, str(session))
    calls = [reply.headers["x-workflow-call"] for reply in replies]
    assert [node["call_id"] for node in document["nodes"]] == calls
    assert [(edge["from"], edge["to"]) for edge in document["edges"]] == list(pairwise(calls))
    assert {edge["known_by"] for edge in document["edges"]} == {"inferred"}
    assert [node["depth"] for node in document["nodes"]] == [3, 2, 1, 0]


async def test_answers_that_come_back_in_a_prompt_are_edges(rig) -> None:
    maps = [
        await converse(rig, [user(f"Summarise part {part} of the long book on whales, oceans and storms. " * 3)])
        for part in range(3)
    ]
    joined = "\n\n".join(said(reply)["content"] for reply in maps)
    reduced = await converse(rig, [user(f"Combine these:\n{joined}")], SESSION)
    document = await view(rig)
    feeding = [edge for edge in document["edges"] if edge["to"] == reduced.headers["x-workflow-call"]]
    assert {edge["from"] for edge in feeding} == {reply.headers["x-workflow-call"] for reply in maps}
    assert {edge["known_by"] for edge in feeding} == {"inferred"}


async def test_a_tool_call_id_that_comes_back_is_an_exact_edge(make_rig) -> None:
    rig = await make_rig(ECHO)
    tools = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
    asked = await converse(rig, [user("Weather?")], tools=tools)
    call_id = said(asked)["tool_calls"][0]["id"]
    result = {"role": "tool", "tool_call_id": call_id, "content": "sunny"}
    answered = await converse(rig, [user("Weather?"), said(asked), result])
    document = await view(rig, answered.headers["x-workflow-session"])
    (edge,) = document["edges"]
    assert edge["from"] == asked.headers["x-workflow-call"]
    assert edge["known_by"] == "tool_call_id"


async def test_inferred_links_never_cross_tenants(make_rig) -> None:
    from gateway.auth import hash_key, new_key

    keys = {tenant: new_key() for tenant in ("a", "b")}
    settings = [{"tenant": tenant, "hash": hash_key(key)} for tenant, key in keys.items()]
    rig = await make_rig(Behaviour(), key=settings)
    messages: list[Any] = [user("A secret plan, of quite some length, that only one tenant has ever seen.")]
    first = await converse(rig, messages, {"x-api-key": keys["a"]})
    longer = [*messages, said(first), user("go on")]
    stolen = await converse(rig, longer, {"x-api-key": keys["b"]})
    assert "x-workflow-session" not in stolen.headers
    continued = await converse(rig, longer, {"x-api-key": keys["a"]})
    assert "x-workflow-session" in continued.headers


async def test_without_a_store_only_calls_that_need_it_are_refused(make_rig) -> None:
    rig = await make_rig(Behaviour(), store__url="redis://127.0.0.1:1/")
    started = time.monotonic()
    for headers in ({"x-workflow-outputs": "plan"}, {"x-workflow-after": "plan"}):
        reply = await rig.chat("hi", headers={**SESSION, **headers})
        assert reply.status_code == 503
        assert reply.json()["error"]["code"] == "store_unavailable"
        assert int(reply.headers["retry-after"]) >= 1
    trace = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
    for headers in ({}, SESSION, trace, {"x-claude-code-session-id": "s", "x-workflow-final": "1"}):
        assert (await rig.chat("hi", headers=headers)).status_code == 200
    assert time.monotonic() - started < 6 * 0.5
    assert (await rig.client.get("/v1/workflow/sessions/run-1")).status_code == 503
    ready = (await rig.client.get("/ready")).json()
    assert (ready["ready"], ready["store"]["up"]) == (True, False)
