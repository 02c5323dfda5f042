"""Lists on their way through the gateway: engines streamed for clients that did not ask, and streams that break."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import orjson
import pytest

from engines.simulated import Behaviour, Fault
from tests.gateway.conftest import MakeRig, Rig

STORE_MS = 5_000
SLOW = Behaviour(decode_tokens_per_s=200)
LONG = orjson.dumps(["a.py", "b.py", *["x" * 20] * 30]).decode()
BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": LONG}]},
    "/v1/completions": {"prompt": LONG},
    "/v1/messages": {"max_tokens": 500, "messages": [{"role": "user", "content": LONG}]},
    "/v1/responses": {"input": LONG},
}


def hints(session: str = "s", **named: str) -> dict[str, str]:
    return {"x-workflow-session": session, **{f"x-workflow-{name}": named[name] for name in named}}


def read(rig: Rig, name: str) -> asyncio.Task[httpx.Response]:
    return asyncio.create_task(rig.chat(f"read {{{{{name}}}}}", headers=hints(inputs=name)))


async def until_parked(rig: Rig, calls: int = 1) -> None:
    await rig.until(lambda: rig.gateway.parking.parked == calls)


def attempts(rig: Rig) -> list[Any]:
    """The requests that were told to go wrong."""
    received = [request for worker in rig.workers for request in worker.received]
    return [request for request in received if b"x-fault" in dict(request.headers)]


def stated(value: Any) -> Any:
    """Without nulls, which the simulated worker leaves out, and without what differs between two calls."""
    if isinstance(value, dict):
        return {
            key: stated(item) for key, item in value.items() if item is not None and key not in ("id", "created")
        }
    return [stated(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("path", BODIES)
async def test_the_engine_is_streamed_and_the_reply_is_its_own_unstreamed_one(make_rig: MakeRig, path: str) -> None:
    rig = await make_rig(Behaviour(prefix_caching=False), store__deadline_ms=STORE_MS)
    body = {"model": "simulated", **BODIES[path]}
    plain = await rig.client.post(path, json=body)
    ours = await rig.client.post(path, json=body, headers=hints(outputs="files;each"))

    sent = orjson.loads(rig.workers[0].received[-1].body)
    assert sent["stream"] is True
    assert ours.headers["content-type"] == plain.headers["content-type"] == "application/json"
    assert stated(ours.json()) == stated(plain.json())
    found = await rig.client.get("/v1/workflow/sessions/s/variables/files.1")
    assert found.json()["value"] == "b.py"


async def test_a_worker_that_dies_before_an_item_was_committed_is_replaced(make_rig: MakeRig) -> None:
    rig = await make_rig(Behaviour(), Behaviour(), store__deadline_ms=STORE_MS)
    reply = await rig.chat(
        "no list yet " * 10 + "[1]", headers={**hints(outputs="files;each"), "x-fault": "die-mid-stream"}
    )

    assert reply.status_code == 502
    assert "no other could take over" in reply.json()["error"]["message"]
    assert len(attempts(rig)) == 2


@pytest.mark.parametrize("stream", [False, True])
async def test_once_an_item_is_committed_no_other_attempt_begins_anew(make_rig: MakeRig, stream: bool) -> None:
    rig = await make_rig(SLOW, SLOW, store__deadline_ms=STORE_MS)
    first, late = read(rig, "files.0"), read(rig, "files.31")
    await until_parked(rig, 2)
    headers = {**hints(outputs="files;each"), "x-fault": "die-mid-stream"}
    producer = await rig.chat(LONG, headers=headers, stream=stream, response_format={"type": "json_object"})

    assert "read a.py" in (await first).text
    failed = await late
    assert failed.status_code == 424
    assert producer.headers["x-workflow-call"] in failed.json()["error"]["message"]
    if stream:
        assert b'"error"' in producer.content.splitlines()[-2]
    else:
        assert producer.status_code == 502
        assert producer.json()["error"]["code"] == "broke_off"
        assert producer.headers["x-should-retry"] == "false"
    asked = [
        request for worker in rig.workers for request in worker.received if b"x-fault" in dict(request.headers)
    ]
    assert len(asked) == 1
    kept = await rig.client.get("/v1/workflow/sessions/s/variables/files.0")
    assert kept.json()["value"] == "a.py"


async def test_the_engines_own_error_is_passed_on(make_rig: MakeRig) -> None:
    rig = await make_rig(Behaviour(), store__deadline_ms=STORE_MS)
    reader = read(rig, "files.0")
    await until_parked(rig)
    reply = await rig.chat("x", headers={**hints(outputs="files;each"), "x-fault": "error-429"})

    assert reply.status_code == 429
    assert reply.json()["error"]["message"] == "the engine is full"
    assert (await reader).status_code == 424


async def test_a_long_list_takes_several_commits(make_rig: MakeRig) -> None:
    rig = await make_rig(Behaviour(max_model_len=100_000), store__deadline_ms=STORE_MS)
    many = orjson.dumps(list(range(2500))).decode()
    reply = await rig.chat(many, headers=hints(outputs="numbers;each"))

    assert reply.status_code == 200
    assert "x-workflow-notes" not in reply.headers
    last = await rig.client.get("/v1/workflow/sessions/s/variables/numbers.2499")
    assert last.json()["value"] in (2499, "2499")
    whole = await rig.client.get("/v1/workflow/sessions/s/variables/numbers")
    assert whole.status_code == 200


async def test_a_reply_that_breaks_off_is_gone_on_with_by_another_worker(make_rig: MakeRig) -> None:
    rig = await make_rig(SLOW, SLOW, store__deadline_ms=STORE_MS)
    placed = (await rig.chat("x", headers=hints())).headers["x-workflow-worker"]
    rig.workers[int(placed[1:])].set_fault(Fault.DIE_MID_STREAM, 1)
    first, last = read(rig, "files.0"), read(rig, "files.31")
    await until_parked(rig, 2)
    producer = await rig.chat(LONG, headers=hints(outputs="files;each"), max_tokens=400)

    assert producer.status_code == 200, producer.text
    assert producer.headers["x-workflow-worker"] != placed
    assert "continued" in producer.headers["x-workflow-notes"]
    assert producer.json()["choices"][0]["message"]["content"] == f"echo: {LONG}"
    assert "read a.py" in (await first).text
    assert (await last).status_code == 200
    whole = await rig.client.get("/v1/workflow/sessions/s/variables/files")
    assert orjson.loads(whole.json()["value"]) == orjson.loads(LONG)
    bodies = [orjson.loads(request.body) for worker in rig.workers for request in worker.received if request.body]
    (rest,) = [body for body in bodies if body.get("continue_final_message")]
    said = rest["messages"][-1]
    assert said["role"] == "assistant"
    assert f"echo: {LONG}".startswith(said["content"])
    assert rest["add_generation_prompt"] is False
    assert 0 < rest["max_tokens"] < 400
