"""Variables that nobody should declare: each gets its answer, which names the fault, and the gateway goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from engines.simulated import Behaviour
from gateway.detached import retries
from gateway.store.server import PrivateServer
from tests.gateway.attacks import ACME, EVIL, KEYS
from tests.gateway.conftest import MakeRig, Rig

VARIABLES = "/v1/workflow/sessions/s/variables/"
VALUE_BYTES = 1000


@pytest.fixture
async def small(make_rig: MakeRig) -> Rig:
    """A gateway whose values hold a thousand bytes."""
    return await make_rig(Behaviour(), limits__value_bytes=VALUE_BYTES)


async def put(rig: Rig, name: str, value: str) -> tuple[int, str]:
    reply = await rig.client.put(VARIABLES + name, content=value, headers={"content-type": "text/plain"})
    return reply.status_code, reply.text


@pytest.mark.parametrize("name", ["a%20b", "%7B%7Ba%7D%7D", "a%00", "%ff", "n" * 256])
async def test_an_odd_name_is_refused(small: Rig, name: str) -> None:
    assert (await put(small, name, "x"))[0] == 400


async def test_a_chain_deeper_than_the_limit_is_refused_where_it_would_pass_it(small: Rig) -> None:
    depth = small.gateway.variables.limits.depth
    small.client.timeout = httpx.Timeout(60)
    calls = []
    for number in range(depth):
        headers = {"x-workflow-inputs": f"v{number}", "x-workflow-outputs": f"v{number + 1}"}
        calls.append(
            asyncio.create_task(small.chat(f"{{{{v{number}}}}}", headers=headers | {"x-workflow-session": "s"}))
        )
        await small.until(lambda: small.gateway.parking.parked == len(calls))
    last = {"x-workflow-session": "s", "x-workflow-inputs": f"v{depth}", "x-workflow-outputs": "over"}
    refused = await small.chat(f"{{{{v{depth}}}}}", headers=last)
    error = refused.json()["error"]
    assert (refused.status_code, error["code"]) == (400, "graph_too_deep")
    assert error["message"].endswith(f"v{depth - 1} -> v{depth}.")
    await small.client.post("/v1/workflow/sessions/s/cancel")
    assert {reply.status_code for reply in await asyncio.gather(*calls)} <= {409, 424}


HINTED = {"x-workflow-session": "s"}
ODD_NAMES = [
    "a b",
    "{{a}}",
    "{a",
    "a}",
    "é",
    "名",
    "a\u202eb",
    "\U0001f600",
    "a\\nb",
    "n" * 256,
    "a=b",
    "a'b",
    "<a>",
]


@pytest.mark.parametrize("field", ["inputs", "outputs", "after"])
async def test_an_odd_name_in_a_body_is_refused_and_shown_in_one_line(rig: Rig, field: str) -> None:
    for name in (*ODD_NAMES, "a\r\nx-forged: 1", "a\0", "a\x1fb"):
        reply = await rig.chat("hi", workflow={"session": "s", field: [name]})
        assert (reply.status_code, reply.json()["error"]["param"]) == (400, field), name
        assert not {"\r", "\n", "\0", "\x1f"} & set(reply.json()["error"]["message"]), name
        assert "x-forged" not in reply.headers
    assert not any(request.method == "POST" for worker in rig.workers for request in worker.received)


async def test_an_odd_name_in_a_header_is_refused(rig: Rig) -> None:
    for name in (name for name in ODD_NAMES if name.isascii()):
        reply = await rig.chat("hi", headers={**HINTED, "x-workflow-inputs": name})
        assert (reply.status_code, reply.json()["error"]["param"]) == (400, "inputs"), name


@pytest.mark.parametrize(
    ("count", "status", "fault"),
    [(1025, 400, "more than 1024 items"), (9_000, 400, "more than 1024 items"), (100_000, 431, "65536 bytes")],
)
async def test_names_in_a_header_are_counted(rig: Rig, count: int, status: int, fault: str) -> None:
    names = ",".join(f"n{number}" for number in range(count))
    reply = await rig.chat("hi", headers={**HINTED, "x-workflow-inputs": names})
    assert (reply.status_code, fault in reply.json()["error"]["message"]) == (status, True)
    assert len(reply.content) < 2_000, "what was sent is not all sent back"


async def test_names_in_a_body_are_counted(rig: Rig) -> None:
    names = [f"n{number}" for number in range(100_000)]
    for field in ("inputs", "outputs", "after"):
        reply = await rig.chat("hi", workflow={"session": "s", field: names})
        assert (reply.status_code, "more than 1024 items" in reply.json()["error"]["message"]) == (400, True)
        assert len(reply.content) < 2_000


async def test_placeholders_of_names_that_are_not_listed_stay_however_many(rig: Rig) -> None:
    assert (await put(rig, "v", "VALUE"))[0] == 201
    text = " ".join(f"{{{{n{number}}}}}" for number in range(1_000)) + " {{v}}" + "{" * 5_000
    reply = await rig.chat(text, headers={**HINTED, "x-workflow-inputs": "v"})
    assert reply.status_code == 200
    said = reply.json()["choices"][0]["message"]["content"].removeprefix("echo: ")
    assert said == text.replace("{{v}}", "VALUE")


@pytest.fixture
async def replicas(make_rig: MakeRig, tmp_path: Path) -> AsyncIterator[tuple[Rig, Rig]]:
    """Two gateways on one store, in front of the same worker, for two tenants."""
    server = PrivateServer(tmp_path / "redis")
    await server.start()
    settings = {"store__url": server.url, "key": KEYS}
    first = await make_rig(Behaviour(), **settings)
    second = await make_rig(worker_urls=first.worker_urls, **settings)
    for rig in (first, second):
        rig.client.headers["authorization"] = f"Bearer {ACME}"
    yield first, second
    for rig in (first, second):
        await rig.client.post("/v1/workflow/sessions/s/cancel")
        await rig.until_idle()
    await server.close()


async def test_what_waits_for_itself_is_refused_over_replicas_too(replicas: tuple[Rig, Rig]) -> None:
    """Each call of the ring is sent through another replica than the one before."""
    waiting = []
    for number in range(4):
        rig = replicas[number % 2]
        links = {"x-workflow-inputs": f"v{number}", "x-workflow-outputs": f"v{number + 1}"}
        waiting.append(asyncio.create_task(rig.chat("hi", headers={**HINTED, **links})))
        await rig.until(lambda: sum(each.gateway.parking.parked for each in replicas) == len(waiting))
    closing = {**HINTED, "x-workflow-inputs": "v4", "x-workflow-outputs": "v0"}
    ring = await replicas[1].chat("hi", headers=closing)
    itself = await replicas[0].chat("hi", headers={**HINTED, "x-workflow-inputs": "w", "x-workflow-outputs": "w"})
    item = await replicas[1].chat(
        "[]", headers={**HINTED, "x-workflow-inputs": "l.3", "x-workflow-outputs": "l;each"}
    )

    assert [reply.json()["error"]["code"] for reply in (ring, itself, item)] == [
        "graph_cycle",
        "graph_self",
        "graph_self",
    ]
    assert all(f"v{number}" in ring.json()["error"]["message"] for number in range(5))
    assert {reply.status_code for reply in await asyncio.gather(*waiting)} == {424}, "what feeds them was refused"


@pytest.mark.parametrize("key", ["k" * 256, "k" * 60_000, "a\tb", ""])
async def test_an_odd_idempotency_key_is_ignored_and_noted(rig: Rig, key: str) -> None:
    replies = [await rig.chat("hi", headers={"idempotency-key": key}) for _ in range(2)]
    assert [reply.status_code for reply in replies] == [200, 200]
    assert "ignored;idempotency-key" in replies[0].headers["x-workflow-notes"]
    assert replies[0].headers["x-workflow-call"] != replies[1].headers["x-workflow-call"]
    assert rig.gateway.retries.held == 0


async def test_a_key_with_control_bytes_in_a_body_is_ignored_and_noted(rig: Rig) -> None:
    reply = await rig.chat("hi", workflow={"idempotency_key": "a\r\nx-forged: 1\0"})
    assert reply.status_code == 200
    assert "reason=control-character" in reply.headers["x-workflow-notes"]
    assert "x-forged" not in reply.headers


async def test_a_key_is_its_tenants_alone_on_every_replica(replicas: tuple[Rig, Rig]) -> None:
    mine = await replicas[0].chat("my secret", headers={"idempotency-key": "k"})
    evil = {"idempotency-key": "k", "authorization": f"Bearer {EVIL}"}
    theirs = [await rig.chat("my secret", headers=evil) for rig in replicas]
    other = [await rig.chat("another body", headers=evil) for rig in replicas]
    again = [await rig.chat("my secret", headers={"idempotency-key": "k"}) for rig in replicas]

    calls = [reply.headers["x-workflow-call"] for reply in (mine, *theirs, *again)]
    assert calls == [calls[0], calls[1], calls[1], calls[0], calls[0]]
    assert calls[0] != calls[1]
    assert {reply.json()["error"]["code"] for reply in other} == {"idempotency_key_reused"}
    assert all(calls[0] not in reply.text for reply in (*theirs, *other))


async def test_many_keys_of_one_tenant_are_forgotten_in_time(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "MAX_ENDED", 5)
    for number in range(20):
        assert (await rig.chat("hi", headers={"idempotency-key": f"k{number}"})).status_code == 200
    assert rig.gateway.retries.held <= 6
