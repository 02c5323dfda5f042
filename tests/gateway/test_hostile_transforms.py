"""Transforms that nobody should ask for: refused as they arrive, or bounded by the text they are applied to."""

from __future__ import annotations

import asyncio

import orjson
import pytest

from engines.simulated import Behaviour
from gateway.variables import transforms
from tests.gateway.conftest import MakeRig, Rig

VARIABLES = "/v1/workflow/sessions/s/variables/"
DEEP = "[" * 3_000 + "]" * 3_000
WIDE = orjson.dumps({"a": [{"b": [number]} for number in range(2_000)]}).decode()


async def produce(rig: Rig, transform: str, text: str) -> tuple[int, str]:
    """A call whose reply is cut so: its status, and why it was refused or gave no value."""
    said = {"session": "s", "outputs": f"v;{transform}"}
    reply = await rig.chat(text, workflow=said)
    if reply.status_code != 200:
        error = reply.json()["error"]
        return reply.status_code, f"{error['param']}: {error['message']}"
    found = await rig.client.get(VARIABLES + "v")
    return found.status_code, found.json()["error"]["message"] if found.status_code == 424 else found.text


@pytest.mark.parametrize(
    ("path", "fault"),
    [
        ("$..*..*..*..*", "more than one `..`"),
        ("$" + "..*" * 1000, "more than one `..`"),
        ("$[" + ",".join(["*"] * 100) + "]", "too many selectors"),
        ("$" + "[*,*,*,*,*,*,*,*]" * 8, "too many selectors"),
        ("$[?@[?@[?@..*]]..*]", "more than one `..`"),
        ("$.a[?$..b[?@ > 1]]", "one node from the root"),
        ("$[?" + "(" * 2000 + "@" + ")" * 2000 + "]", "nests too deep"),
        ("$" + "[0]" * 200_000, "more than 4096 characters"),
        ("$[", "outputs"),
    ],
    ids=["descents", "many descents", "union", "product", "nested filters", "root", "brackets", "600 KB", "broken"],
)
async def test_a_path_that_multiplies_its_work_is_refused_as_it_arrives(rig: Rig, path: str, fault: str) -> None:
    status, said = await produce(rig, f'json="{path}"', "{}")
    assert status == 400
    assert said.startswith("outputs: ")
    assert fault in said
    assert len(said) < 2_000, "what was sent is not all sent back"
    assert not any(request.method == "POST" for worker in rig.workers for request in worker.received)


@pytest.mark.parametrize("path", ["$..*", "$..b[0]", "$.a[?@.b[0] > 5]", "$.a[?search(@.b, '(a+)+$')]"])
@pytest.mark.parametrize("text", [DEEP, WIDE], ids=["deep", "wide"])
async def test_a_path_that_is_taken_costs_no_more_than_its_document(rig: Rig, path: str, text: str) -> None:
    status, said = await produce(rig, f'json="{path}"', text)
    assert status in (200, 424)
    assert len(said) < 40 * len(text)
    assert (await rig.chat("still here?")).status_code == 200


@pytest.mark.parametrize(
    ("pattern", "fault"),
    [
        ("(a{1000}){1000}", "regex"),
        ("((((a{100}){100}){100}){100}){100}", "regex"),
        ("(?=a)", "regex"),
        (r"(a)\\1", "regex"),
        ("a" * 100_000, "more than 4096 characters"),
        ("[", "regex"),
    ],
    ids=["counted", "counted five deep", "lookahead", "back reference", "100 KB", "broken"],
)
async def test_a_pattern_that_is_too_big_or_none_is_refused_as_it_arrives(
    rig: Rig, pattern: str, fault: str
) -> None:
    status, said = await produce(rig, f'regex="{pattern}"', "a")
    assert status == 400
    assert fault in said
    assert len(said) < 2_000, "what was sent is not all sent back"


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|a)*b", "(.*)*(.*)*(.*)*x"])
async def test_a_hostile_pattern_costs_no_more_than_its_text(rig: Rig, pattern: str) -> None:
    status, said = await produce(rig, f'regex="{pattern}"', "a" * 20_000 + "!")
    assert (status, "does not match" in said) == (424, True)


@pytest.mark.plain
async def test_a_transform_at_work_holds_nobody_up(make_rig: MakeRig, monkeypatch: pytest.MonkeyPatch) -> None:
    """It runs on a thread: that thread is held until another call has been answered."""
    rig = await make_rig(Behaviour())
    loop, answered = asyncio.get_running_loop(), asyncio.Event()
    began = asyncio.Event()
    apply = transforms.apply

    def held(*args: object) -> object:
        loop.call_soon_threadsafe(began.set)
        asyncio.run_coroutine_threadsafe(answered.wait(), loop).result(10)
        return apply(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(transforms, "apply", held)
    hostile = asyncio.create_task(produce(rig, 'regex="(.*)*x"', "a" * 20_000))
    await asyncio.wait_for(began.wait(), 10)
    assert (await rig.chat("meanwhile")).status_code == 200
    answered.set()
    assert (await hostile)[0] == 424


@pytest.mark.parametrize(
    ("count", "status", "fault"), [(1025, 400, "more than 1024 items"), (100_000, 413, "json_containers")]
)
async def test_many_outputs_of_one_reply_are_bounded(rig: Rig, count: int, status: int, fault: str) -> None:
    outputs = [{"name": f"v{number}", "json": "$..*"} for number in range(count)]
    reply = await rig.chat("[]", workflow={"session": "s", "outputs": outputs})
    assert (reply.status_code, fault in reply.json()["error"]["message"]) == (status, True)
