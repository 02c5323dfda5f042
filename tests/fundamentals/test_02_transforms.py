"""What of a reply becomes the value: a transform per output.

The workers answer with an echo of their prompt, so that a call's text is also its reply.
"""

from __future__ import annotations

import orjson
import pytest

from tests.fundamentals.conftest import Program, bare, fault, said

FENCED = "Here you are:\n```python\nprint(1)\n```\nand no more"


async def test_a_transform_cuts_the_value_from_the_reply(program: Program) -> None:
    await program.call(
        'Sure: {"files": ["a.py", "b.py"]}', outputs='names;json="$.files", first;regex="([a-z]+)\\\\.py"'
    )
    await program.call(FENCED, outputs="code;code, lines;lines")

    assert said(await program.call("{{names}} {{first}}", inputs="names, first")) == '["a.py", "b.py"] a'
    assert said(await program.call("{{code}}", inputs="code")) == "print(1)"
    assert (await program.get("lines")).json()["kind"] == "json"


@pytest.mark.parametrize(
    ("reply", "transform", "value", "kind"),
    [
        ("  yes \n", "", "  yes \n", "text"),
        ("yes \n", "strip", "yes", "text"),
        (FENCED, "code", "print(1)", "text"),
        ("a\n\n b \n", "lines", '["a", "b"]', "json"),
        ('Sure:\n```json\n{"a": [1, 2]}\n```', "json", '{"a": [1, 2]}', "json"),
        ('{"a": {"b": "c"}}', 'json="$.a.b"', "c", "text"),
        ('[{"n": 1}, {"n": 2}]', 'json="$[*].n"', "[1, 2]", "json"),
        ("ID-17 and ID-18", 'regex="ID-([0-9]+)"', "17", "text"),
        ("ID-17 and ID-18", 'regex="ID-[0-9]+"', "ID-17", "text"),
    ],
)
async def test_each_transform(program: Program, reply: str, transform: str, value: str, kind: str) -> None:
    await program.call(reply, outputs=f"v;{transform}" if transform else "v")

    found = (await program.get("v")).json()
    assert (bare(found["value"]), found["kind"]) == (value, kind)


async def test_the_whole_message_may_be_the_value(program: Program) -> None:
    await program.call("hello", outputs="v;message")

    message = orjson.loads((await program.get("v")).json()["value"])
    assert (message["role"], bare(message["content"])) == ("assistant", "hello")


async def test_what_does_not_match_is_no_value(program: Program) -> None:
    reader = program.begin("{{id}}", inputs="id")
    await program.until_parked()
    reply = await program.call("no number", outputs='id;regex="[0-9]+"')

    assert (reply.status_code, "output-failed;id" in reply.headers["x-workflow-notes"]) == (200, True)
    assert (await reader).status_code == 424


async def test_a_reply_that_was_cut_off_is_a_value_with_a_note_or_with_complete_none(program: Program) -> None:
    cut = await program.call("one two three four", outputs="some", body={"max_tokens": 2})
    none = await program.call("one two three four", outputs="whole;complete", body={"max_tokens": 2})

    assert "output-truncated" in cut.headers["x-workflow-notes"]
    assert (await program.get("some")).json()["truncated"] is True
    assert "output-failed;whole" in none.headers["x-workflow-notes"]
    assert (await program.get("whole")).status_code == 424


async def test_a_transform_that_nobody_can_apply_is_refused_with_the_line_to_send(program: Program) -> None:
    refused = await program.call("hello", outputs='v;regex="("')

    assert (refused.status_code, fault(refused)["param"]) == (400, "outputs")
