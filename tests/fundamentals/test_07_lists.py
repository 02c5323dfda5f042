"""Lists whose items flow before the list is whole, a rule at a time. Read from top to bottom.

The workers answer with an echo of their prompt, so that a call's text is also its reply.
"""

from __future__ import annotations

import asyncio

import orjson

from engines.simulated import Behaviour
from tests.fundamentals.conftest import Program, bare, fault, said
from tests.gateway.conftest import run_rig

FILES = '["a.py", {"name": "b.py"}, 3]'


async def test_each_item_of_a_list_is_a_variable(program: Program) -> None:
    await program.call(FILES, outputs="files;each")

    assert said(await program.call("1: {{files.0}}, 2: {{files.1}}", inputs="files.0, files.1")) == (
        '1: a.py, 2: {"name": "b.py"}'
    )
    assert said(await program.call("{{files}}", inputs="files")) == '["a.py", {"name": "b.py"}, 3]'


async def test_an_item_may_be_waited_for_before_anybody_knows_how_many_there_are(program: Program) -> None:
    readers = [program.begin(f"read {{{{files.{index}}}}}", inputs=f"files.{index}") for index in (0, 2, 3)]
    await program.until_parked(3)
    await program.call(f'Well: {{"all": {FILES}}}', outputs='files;json="$.all";each')

    first, last, beyond = await asyncio.gather(*readers)
    assert said(first) == "read a.py"
    assert said(last) == "read 3"
    assert beyond.status_code == 424
    assert "files.3" in fault(beyond)["message"]


async def test_past_the_end_is_a_424_for_those_who_come_later_too(program: Program) -> None:
    await program.call(FILES, outputs="files;each")

    late = await program.call("{{files.7}}", inputs="files.7")
    assert late.status_code == 424
    assert "files.7" in fault(late)["message"]


async def test_what_is_no_list_fails_who_waits_for_its_items(program: Program) -> None:
    reader = program.begin("{{files.0}}", inputs="files.0")
    await program.until_parked()
    producer = await program.call('{"name": "a.py"}', outputs="files;each")

    assert producer.status_code == 200
    assert "output-failed;files" in producer.headers["x-workflow-notes"]
    assert (await reader).status_code == 424
    assert "list" in fault(await reader)["message"]


async def test_a_list_is_read_from_one_reply(program: Program) -> None:
    refused = await program.call(FILES, outputs="files;each", body={"n": 2})

    assert (refused.status_code, fault(refused)["param"]) == (400, "outputs")


async def test_its_producer_may_be_streamed(program: Program) -> None:
    reader = program.begin("{{files.1}}", inputs="files.1")
    await program.until_parked()
    reply = await program.call(FILES, outputs="files;each", body={"stream": True})

    assert reply.text.rstrip().endswith("data: [DONE]")
    assert said(await reader) == '{"name": "b.py"}'


async def test_the_reader_of_an_item_starts_while_the_list_is_still_being_written() -> None:
    slow = Behaviour(decode_tokens_per_s=100)
    async with run_rig([slow, slow], store__deadline_ms=5_000) as rig:
        program = Program(rig, "run-1")
        reader = program.begin("read {{files.0}}", inputs="files.0")
        await program.until_parked()
        long = orjson.dumps(["a.py", "x" * 400]).decode()
        producer = program.begin(long, outputs="files;each")

        assert said(await reader) == "read a.py"
        assert not producer.done()
        assert bare((await program.get("files.0")).json()["value"]) == "a.py"
        assert (await program.get("files.1")).status_code == 202
        assert said(await producer) == long
        await rig.until_idle()


async def test_a_step_may_be_mapped_over_a_list_one_call_an_item(program: Program) -> None:
    mapped = program.begin("review {{files}} {{how}}", inputs="files, how", outputs="reviews;map=files")
    reduce = program.begin("all: {{reviews}}", inputs="reviews")
    one = program.begin("one: {{reviews.1}}", inputs="reviews.1")
    await program.until_parked(3)
    await program.put("how", "well")
    await program.call(FILES, outputs="files;each")

    reply = (await mapped).json()
    texts = [bare(choice["message"]["content"]) for choice in reply["choices"]]
    assert texts == ["review a.py well", 'review {"name": "b.py"} well', "review 3 well"]
    assert [choice["index"] for choice in reply["choices"]] == [0, 1, 2]
    assert said(await one) == 'one: review {"name": "b.py"} well'
    assert orjson.loads(said(await reduce).removeprefix("all: ")) == texts
    beyond = await program.call("{{reviews.3}}", inputs="reviews.3")
    assert beyond.status_code == 424


async def test_any_value_that_is_a_json_list_may_be_mapped_over_and_an_empty_one_gives_an_empty_list(
    program: Program,
) -> None:
    await program.put("words", '["sea", "sky"]')
    await program.put("none", "[]")
    mapped = await program.call("{{words}}!", inputs="words", outputs="shouts;map;strip")
    empty = await program.call("{{none}}!", inputs="none", outputs="nothing;map")

    assert [bare(choice["message"]["content"]) for choice in mapped.json()["choices"]] == ["sea!", "sky!"]
    assert empty.json()["choices"] == []
    assert (await program.get("nothing")).json()["value"] == "[]"


async def test_what_is_no_list_cannot_be_mapped_over(program: Program) -> None:
    await program.put("word", "sea")
    mapped = await program.call("{{word}}!", inputs="word", outputs="shouts;map")

    assert (mapped.status_code, fault(mapped)["code"]) == (424, "not_a_list")
    assert (await program.call("{{shouts.0}}", inputs="shouts.0")).status_code == 424


async def test_a_failing_item_fails_the_map(program: Program) -> None:
    await program.put("words", orjson.dumps(["sea", "x" * 60_000]).decode())
    reduce = program.begin("{{shouts}}", inputs="shouts")
    await program.until_parked()
    mapped = await program.call("{{words}}!", inputs="words", outputs="shouts;map")

    assert (mapped.status_code, fault(mapped)["code"]) == (502, "map_failed")
    assert "Item 1" in fault(mapped)["message"]
    assert (await reduce).status_code == 424


async def test_an_item_whose_transform_gives_no_value_fails_the_list_but_not_the_replies(program: Program) -> None:
    await program.put("words", '["a1", "b"]')
    mapped = await program.call("{{words}}", inputs="words", outputs='numbers;map;regex="[0-9]+"')

    assert len(mapped.json()["choices"]) == 2
    assert "output-failed;numbers.1" in mapped.headers["x-workflow-notes"]
    assert (await program.get("numbers")).status_code == 424


async def test_what_a_map_cannot_be(program: Program) -> None:
    for hints, body, status in (
        ({"outputs": "a;map"}, {}, 400),
        ({"outputs": "a;map=b", "inputs": "c"}, {}, 400),
        ({"outputs": "a;map=c, d", "inputs": "c"}, {}, 400),
        ({"outputs": "a;map", "inputs": "c"}, {"stream": True}, 400),
        ({"outputs": "a;map", "inputs": "c"}, {"n": 2}, 400),
    ):
        refused = await program.call("x", **hints, body=body)
        assert (refused.status_code, fault(refused)["param"]) == (status, "outputs")


async def test_a_list_longer_than_a_map_may_be_is_refused() -> None:
    async with run_rig([Behaviour()], store__deadline_ms=5_000, limits__map_items=2) as rig:
        program = Program(rig, "run-1")
        await program.put("two", "[1, 2]")
        await program.put("three", "[1, 2, 3]")

        assert (await program.call("{{two}}", inputs="two", outputs="a;map")).status_code == 200
        refused = await program.call("{{three}}", inputs="three", outputs="b;map")
        assert (refused.status_code, fault(refused)["code"]) == (413, "map_too_large")
        await rig.until_idle()


async def test_a_map_begins_with_the_first_item_and_shows_each_call() -> None:
    slow = Behaviour(decode_tokens_per_s=100)
    async with run_rig([slow, slow], store__deadline_ms=5_000) as rig:
        program = Program(rig, "run-1")
        mapped = program.begin("{{files}}!", inputs="files", outputs="shouts;map", step="shout")
        first = program.begin("{{shouts.0}}", inputs="shouts.0")
        await program.until_parked(3)
        producer = program.begin(orjson.dumps(["a.py", "x" * 400]).decode(), outputs="files;each")

        assert said(await first) == "a.py!"
        assert not producer.done()
        call_id = (await mapped).headers["x-workflow-call"]
        item = (await rig.client.get(f"/v1/workflow/calls/{call_id}.1")).json()
        assert (item["step"], item["outcome"]) == ("shout", "done")
        await producer
        await rig.until_idle()
