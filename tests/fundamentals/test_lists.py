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
