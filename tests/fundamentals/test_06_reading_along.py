"""A variable read along while it is produced: provisional text first, then the value that stands."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import orjson
import pytest

from engines.simulated import Behaviour
from gateway.control import variable_stream
from tests.fundamentals.conftest import Program, bare, fault, store_of
from tests.gateway.conftest import run_rig

WORDS = "one two three four five six seven eight nine ten"
Event = tuple[str, dict[str, Any]]


@pytest.fixture(params=["memory", "redis", "cluster"])
async def slow(request: pytest.FixtureRequest) -> AsyncIterator[Program]:
    """A session whose model takes half a second to say ten words."""
    async with run_rig([Behaviour(decode_tokens_per_s=40)], store__url=store_of(request)) as rig:
        yield Program(rig, "run-1")
        await rig.until_idle()
        assert rig.gateway.live.followers == 0


async def events(program: Program, name: str, **params: Any) -> AsyncIterator[Event]:
    """The events of one variable as they come."""
    url = f"/v1/workflow/sessions/{program.session}/variables/{name}"
    headers = {"accept": "text/event-stream"}
    async with program.rig.client.stream("GET", url, headers=headers, params=params) as reply:
        assert reply.status_code == 200, await reply.aread()
        assert reply.headers["content-type"].startswith("text/event-stream")
        kind = ""
        async for line in reply.aiter_lines():
            if line.startswith("event: "):
                kind = line.removeprefix("event: ")
            elif line.startswith("data: "):
                yield kind, orjson.loads(line.removeprefix("data: "))


def follow(program: Program, name: str, **params: Any) -> asyncio.Task[list[Event]]:
    """All its events, read in the background."""

    async def read() -> list[Event]:
        return [event async for event in events(program, name, **params)]

    return asyncio.create_task(read())


async def until_followed(program: Program) -> None:
    await program.rig.until(lambda: program.rig.gateway.live.followers == 1)


def said(found: list[Event]) -> str:
    return "".join(event["text"] for kind, event in found if kind == "delta")


async def test_text_comes_as_it_is_said_and_then_the_value(slow: Program) -> None:
    producer = slow.begin(WORDS, outputs="said", body={"stream": True})
    found: list[Event] = []
    async for event in events(slow, "said"):
        if not found:
            assert event[0] == "delta"
            assert event[1]["provisional"] is True
            assert (await slow.get("said")).status_code == 202
        found.append(event)

    await producer
    assert [kind for kind, _ in found[:-1]] == ["delta"] * (len(found) - 1)
    assert found[-1][0] == "value"
    assert bare(found[-1][1]["value"]) == WORDS
    assert found[-1][1]["value"].startswith(said(found))
    assert len(found) > 3


async def test_who_comes_late_reads_from_the_start_and_who_comes_early_waits(slow: Program) -> None:
    early = follow(slow, "said")
    await until_followed(slow)
    producer = slow.begin(WORDS, outputs="said", body={"stream": True})
    await slow.rig.until(lambda: slow.rig.gateway.live._streams)
    late = follow(slow, "said")

    for found in (await early, await late):
        assert said(found).startswith("echo: one")
        assert found[-1][0] == "value"
    await producer


async def test_a_value_that_is_there_comes_at_once(program: Program) -> None:
    await program.put("plan", "rest")
    assert [(kind, event["value"]) for kind, event in await follow(program, "plan")] == [("value", "rest")]


async def test_a_transformed_value_has_no_deltas(program: Program) -> None:
    found = follow(program, "names")
    await until_followed(program)
    await program.call('{"names": ["a", "b"]}', outputs='names;json="$.names"', body={"stream": True})

    assert [kind for kind, _ in await found] == ["value"]


async def test_an_unstreamed_producer_gives_its_value_alone(program: Program) -> None:
    found = follow(program, "plan")
    await until_followed(program)
    await program.call("go", outputs="plan")

    assert [kind for kind, _ in await found] == ["value"]


async def test_a_list_comes_item_by_item(program: Program) -> None:
    found = follow(program, "files")
    await until_followed(program)
    await program.call('["a.py", "b.py"]', outputs="files;json;each")

    told = await found
    assert [(kind, event["name"]) for kind, event in told] == [
        ("item", "files.0"),
        ("item", "files.1"),
        ("value", "files"),
    ]
    assert [event["value"] for kind, event in told if kind == "item"] == ["a.py", "b.py"]


async def test_a_failure_is_the_last_event_with_its_chain_of_causes(program: Program) -> None:
    found = follow(program, "c")
    await until_followed(program)
    middle = program.begin("{{a}}", inputs="a", outputs="c")
    await program.until_parked(3)
    await program.call("no digits", outputs='a;regex="[0-9]+"')

    ((kind, event),) = await found
    assert kind == "error"
    assert event["error"]["code"] == "dependency_failed"
    assert [cause["variable"] for cause in event["causes"]] == ["c", "a"]
    assert (await middle).status_code == 424


async def test_what_failed_before_it_was_followed_is_a_plain_424(program: Program) -> None:
    await program.call("no digits", outputs='a;regex="[0-9]+"')
    url = f"/v1/workflow/sessions/{program.session}/variables/a"
    reply = await program.rig.client.get(url, headers={"accept": "text/event-stream"})

    assert (reply.status_code, fault(reply)["code"]) == (424, "dependency_failed")


async def test_nobody_produces_it_in_time(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(variable_stream, "COMMENT_EVERY_S", 0.05)
    ((kind, event),) = await follow(program, "nothing", wait_s=0.3)

    assert (kind, event["error"]["code"]) == ("error", "input_timeout")


async def test_who_leaves_is_forgotten(program: Program) -> None:
    follower = follow(program, "nothing")
    await until_followed(program)
    await program.until_parked(2)
    follower.cancel()

    await program.rig.until(lambda: program.rig.gateway.live.followers == 0)
    await program.until_parked(0)


@pytest.mark.parametrize("wait_s", ["-1", "601", "nan", "inf", "soon"])
async def test_a_wait_is_between_nothing_and_ten_minutes(program: Program, wait_s: str) -> None:
    reply: httpx.Response = await program.get("plan", wait_s=wait_s)
    assert (reply.status_code, fault(reply)["param"]) == (400, "wait_s")
