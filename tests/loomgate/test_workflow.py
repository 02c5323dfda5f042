"""What `Workflow` says and to whom, over the unmodified `openai` package with its HTTP transport replaced."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import httpx
import openai
import pytest

from hints.model import Hint, Output
from hints.parse import parse
from loomgate import Workflow
from loomgate.base import says_durable

MESSAGES = [{"role": "user", "content": "hi"}]
REPLY = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hello"}}],
}


class Recorder:
    """Answers every request and remembers it."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return httpx.Response(200, json=REPLY)

    @property
    def hint(self) -> Hint:
        parsed = parse([(name.lower(), value) for name, value in self.requests[-1].headers.raw])
        assert parsed.notes == ()
        return parsed.hint


def _hint(request: httpx.Request) -> Hint:
    return parse([(name.lower(), value) for name, value in request.headers.raw]).hint


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def client(recorder: Recorder) -> Iterator[openai.OpenAI]:
    http = httpx.Client(transport=httpx.MockTransport(recorder))
    with openai.OpenAI(api_key="k", base_url="http://gateway/v1", http_client=http) as client:
        yield client


def test_a_call_carries_its_hints_and_returns_the_sdks_object(client: openai.OpenAI, recorder: Recorder) -> None:
    run = Workflow(client, name="map-reduce")
    reply = run.call(
        "reduce",
        messages=MESSAGES,
        model="m",
        inputs=["part.0", "part.1"],
        outputs=[Output("summary", (("json", "$.text"),))],
        after="review",
        objective="latency",
        expected_tokens=50,
        temperature=0,
        extra_headers={"x-mine": "1"},
    ).result()
    assert isinstance(reply, openai.types.chat.ChatCompletion)
    hint = recorder.hint
    assert (hint.session, hint.name, hint.step) == (run.session, "map-reduce", "reduce")
    assert (hint.inputs, hint.after) == (("part.0", "part.1"), ("review",))
    assert hint.outputs == (Output("summary", (("json", "$.text"),)),)
    assert (hint.objective, hint.expected_tokens, hint.final) == ("latency", 50, False)
    assert recorder.requests[-1].headers["x-mine"] == "1"


async def test_an_async_client_gives_an_awaitable(recorder: Recorder) -> None:
    http = httpx.AsyncClient(transport=httpx.MockTransport(recorder))
    async with (
        openai.AsyncOpenAI(api_key="k", base_url="http://gateway/v1", http_client=http) as client,
        Workflow(client, name="chat", session="run-1") as run,
    ):
        reply = await run.call("answer", messages=MESSAGES, model="m", final=True)
    assert reply.choices[0].message.content == "hello"
    assert (recorder.hint.session, recorder.hint.final) == ("run-1", True)


def test_runs_have_sessions_of_their_own(client: openai.OpenAI) -> None:
    first, second = Workflow(client, name="my program"), Workflow(client, name="my program")
    assert first.session != second.session
    assert first.session.startswith("myprogram-")


def test_nothing_is_called_after_the_final_call(client: openai.OpenAI) -> None:
    run = Workflow(client)
    run.call("last", messages=MESSAGES, model="m", final=True).result()
    with pytest.raises(RuntimeError, match="is over"):
        run.call("more", messages=MESSAGES, model="m")


def test_nothing_is_called_after_the_block(client: openai.OpenAI, recorder: Recorder) -> None:
    with Workflow(client) as run:
        run.call("one", messages=MESSAGES, model="m")
    assert len(recorder.requests) == 1
    with pytest.raises(RuntimeError, match="is over"):
        run.call("more", messages=MESSAGES, model="m")


def test_a_bad_hint_is_refused_before_anything_is_sent(client: openai.OpenAI, recorder: Recorder) -> None:
    with pytest.raises(ValueError, match="outputs"):
        Workflow(client).call("one", messages=MESSAGES, model="m", outputs=["my plan"])
    with pytest.raises(ValueError, match="no model"):
        Workflow(client).call("one", messages=MESSAGES)
    with pytest.raises(ValueError, match="session"):
        Workflow(client, session="a\nb")
    assert recorder.requests == []


def test_headers_for_calls_made_without_the_helper(client: openai.OpenAI) -> None:
    run = Workflow(client, name="chat", session="run-1")
    assert run.headers("answer", outputs="plan") == {
        "x-workflow-session": "run-1",
        "x-workflow-name": "chat",
        "x-workflow-step": "answer",
        "x-workflow-outputs": "plan",
    }


def test_a_call_produces_a_variable_only_if_it_is_read_or_names_one(
    client: openai.OpenAI, recorder: Recorder
) -> None:
    with Workflow(client, model="m", deferred=False) as run:
        draft = run.call("draft", messages=MESSAGES)
        for _ in range(2):
            draft = run.call("draft", messages=[{"role": "user", "content": f"Better: {draft} {{{{other}}}}"}])
    hints = {parsed.inputs: parsed.outputs for parsed in map(_hint, recorder.requests)}
    assert hints == {
        (): (Output("draft.1"),),
        ("draft.1",): (Output("draft.2"),),
        ("draft.2",): (),
    }
    assert {_hint(request).step for request in recorder.requests} == {"draft"}


def test_what_other_calls_read_is_deferred_where_it_may_be(client: openai.OpenAI, recorder: Recorder) -> None:
    with Workflow(client, model="m", deferred=True) as run:
        plan = run.call("plan", messages=MESSAGES, outputs="plan, title;lines")
        shown = run.call("show", messages=MESSAGES, outputs="shown", stream=True)
        run.call(
            "end",
            messages=[{"role": "user", "content": [{"type": "text", "text": f"{plan['title']}"}]}],
            after=[shown],
        )
    modes = {hint.step: (hint.mode, hint.inputs, hint.after) for hint in map(_hint, recorder.requests)}
    assert modes == {
        "plan": ("deferred", (), ()),
        "show": ("wait", (), ()),
        "end": ("wait", ("title",), ("shown",)),
    }


def test_a_variable_of_several_must_be_named(client: openai.OpenAI) -> None:
    run = Workflow(client, model="m")
    plan = run.call("plan", messages=MESSAGES, outputs=["plan", Output("files", (("json", "$"), ("each", True)))])
    with pytest.raises(ValueError, match=r"plan produces plan, files: take one"):
        str(plan)
    assert (str(plan["files"]), str(plan["files.3"])) == ("{{files}}", "{{files.3}}")
    with pytest.raises(KeyError, match="not titles"):
        plan["titles"]


def test_reading_a_call_that_was_sent_without_an_output_is_an_error(client: openai.OpenAI) -> None:
    run = Workflow(client, model="m")
    draft = run.call("draft", messages=MESSAGES)
    assert draft.text() == "hello"
    with pytest.raises(ValueError, match=r"say outputs='draft.1' where it is called, or use its text"):
        run.call("next", messages=[{"role": "user", "content": str(draft)}])


@pytest.mark.parametrize("page", ["", "[]", "{}", '{"store": null}', '{"store": {"durable": "yes"}}', "<html>"])
def test_a_page_that_does_not_say_durable_is_not(page: str) -> None:
    assert not says_durable(page)


def test_importing_it_imports_no_client() -> None:
    code = "import sys, loomgate; sys.exit(bool({'openai', 'httpx'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
