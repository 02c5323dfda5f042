"""Every row of the table, from its documented example."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hints.foreign import BODY, CONVENTIONS, HEADERS
from hints.model import Hint, Objective
from hints.parse import parse

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"
ROOT = "7f1d6a2e-3f9c-4f57-9a6a-0d0c0f5b3d11"
RUN = "c1a9be52-98c7-4a2b-8b8e-6f3f0a3f2f77"


@dataclass(frozen=True)
class Case:
    row: str
    expected: dict[str, Any]
    headers: dict[str, str] | None = None
    body: dict[str, Any] | None = None
    what: str = ""


CASES = [
    Case(
        "Claude Code",
        {
            "session": "8f14e45f-ceea-467f-9e5b-1b2f3c4d5e6f",
            "agent": "agent-7",
            "parent": "agent-1",
            "request_class": "subagent",
            "tool_ms": (("Bash", 742), ("Read", 9)),
        },
        {
            "x-claude-code-session-id": "8f14e45f-ceea-467f-9e5b-1b2f3c4d5e6f",
            "x-claude-code-agent-id": "agent-7",
            "x-claude-code-parent-agent-id": "agent-1",
            "x-claude-code-request-class": "subagent",
            "x-claude-code-prev-tool-durations": "Bash=742;Read=9",
        },
    ),
    Case("Claude Code", {"request_class": "compaction"}, {"x-claude-code-compaction": "auto"}, what="compaction"),
    Case(
        "Claude Code",
        {"request_class": "main", "context_compacted": True},
        {"x-claude-code-request-class": "main", "x-claude-code-context-compacted": "manual"},
        what="compacted",
    ),
    Case(
        "Claude Code",
        {"tool_ms": (("mcp__a b", 3),)},
        {"x-claude-code-prev-tool-durations": "mcp__a%20b=3"},
        what="encoded tool",
    ),
    Case(
        "Codex",
        {"session": "s-1", "agent": "t-2", "parent": "t-1"},
        {
            "session-id": "s-1",
            "thread-id": "t-2",
            "x-codex-parent-thread-id": "t-1",
            "x-codex-window-id": "t-2:0",
            "x-codex-turn-metadata": json.dumps({"session_id": "s-9", "thread_id": "t-9", "turn_id": "u-1"}),
        },
    ),
    Case("Codex", {"session": "t-2", "agent": "t-2"}, {"thread-id": "t-2"}, what="thread alone"),
    Case("Codex", {"session": "t-2"}, {"x-codex-window-id": "t-2:3"}, what="window alone"),
    Case(
        "Codex",
        {"session": "s-1", "agent": "t-2", "parent": "t-1"},
        {
            "x-codex-turn-metadata": json.dumps(
                {"session_id": "s-1", "thread_id": "t-2", "parent_thread_id": "t-1", "turn_id": "u"}
            )
        },
        what="turn metadata alone",
    ),
    Case(
        "OpenCode",
        {"session": "ses_1", "parent": "ses_0"},
        {"x-session-id": "ses_1", "x-parent-session-id": "ses_0", "x-session-affinity": "ses_2"},
    ),
    Case("OpenCode", {"session": "ses_2"}, {"x-session-affinity": "ses_2"}, what="affinity"),
    Case("OpenCode", {"session": "ses_3"}, {"x-opencode-session": "ses_3"}, what="x-opencode-session"),
    Case(
        "Dynamo",
        {
            "session": "sess-1",
            "parent": "root-1",
            "final": True,
            "priority": 20_005,
            "expected_tokens": 1024,
            "expects_next": True,
        },
        {
            "x-dynamo-session-id": "sess-1",
            "x-dynamo-parent-session-id": "root-1",
            "x-dynamo-session-final": "true",
        },
        {"nvext": {"agent_hints": {"priority": 5, "strict_priority": 1, "osl": 1024, "speculative_prefill": True}}},
    ),
    Case("Dynamo", {"priority": 5}, body={"nvext": {"agent_hints": {"priority": 5}}}, what="higher first"),
    Case("LiteLLM", {"session": "tr-1"}, {"x-litellm-trace-id": "tr-1"}),
    Case(
        "LiteLLM", {"session": "ls-1"}, {"x-litellm-session-id": "ls-1", "x-litellm-trace-id": "t"}, what="session"
    ),
    Case(
        "LiteLLM",
        {"session": "v-1", "parent": "v-0"},
        {"x-acme-session-id": "v-1", "x-acme-parent-session-id": "v-0"},
        what="any vendor",
    ),
    Case(
        "LiteLLM",
        {"session": "m-1", "priority": -10},
        body={"metadata": {"session_id": "m-1"}, "priority": 10},
        what="lower first",
    ),
    Case("LiteLLM", {"session": "b-1"}, body={"litellm_session_id": "b-1"}, what="body session"),
    Case("vLLM router", {"session": "x-1"}, {"x-session-id": "x-1"}),
    Case(
        "vLLM router",
        {
            "session": "task-a:researcher",
            "parent": "task-a:lead",
            "blocks_parent": False,
            "expects_next": True,
            "request_class": "subagent",
            "priority": 10,
            "deadline_ms": 30_000,
            "expected_tokens": 2048,
        },
        body={
            "vllm_xargs": {
                "agentic_context": {
                    "program_id": "task-a:researcher",
                    "task_id": "task-a",
                    "session_id": "session-a",
                    "agent_id": "researcher",
                    "parent_program_id": "task-a:lead",
                    "root_program_id": "task-a:lead",
                    "blocks_parent": False,
                    "expected_resume": True,
                    "agent_role": "subagent",
                    "step_id": 7,
                    "priority": 10,
                    "deadline_seconds": 30,
                    "expected_output_length": 2048,
                    "kv_retention_ttl_seconds": 5,
                }
            }
        },
        what="agentic context",
    ),
    Case(
        "llm-d",
        {
            "fairness_id": "tenant-a",
            "request_class": "premium-traffic",
            "ttft_ms": 200,
            "tpot_ms": 50,
            "objective": Objective.LATENCY,
        },
        {
            "x-llm-d-inference-fairness-id": "tenant-a",
            "x-llm-d-inference-objective": "premium-traffic",
            "x-llm-d-slo-ttft-ms": "200",
            "x-llm-d-slo-tpot-ms": "50",
        },
    ),
    Case(
        "llm-d",
        {"objective": Objective.THROUGHPUT},
        {"x-llm-d-inference-objective": "throughput"},
        what="our own word",
    ),
    Case(
        "Helicone",
        {
            "session": "6f1b",
            "step": "/abstract/outline/lesson-1",
            "agent": "/abstract/outline/lesson-1",
            "parent": "/abstract/outline",
            "name": "Course Plan",
        },
        {
            "helicone-session-id": "6f1b",
            "helicone-session-path": "/abstract/outline/lesson-1",
            "helicone-session-name": "Course Plan",
        },
    ),
    Case(
        "Helicone",
        {"step": "/abstract", "agent": "/abstract"},
        {"helicone-session-path": "/abstract"},
        what="top-level path",
    ),
    Case("TensorZero", {"session": "0192-ep"}, body={"tensorzero::episode_id": "0192-ep"}),
    Case(
        "Portkey",
        {"session": "trace-1", "agent": "span-2", "parent": "span-1", "step": "RAG Pipeline"},
        {
            "x-portkey-trace-id": "trace-1",
            "x-portkey-span-id": "span-2",
            "x-portkey-parent-span-id": "span-1",
            "x-portkey-span-name": "RAG Pipeline",
        },
    ),
    Case(
        "LangSmith",
        {"session": ROOT, "parent": RUN},
        {
            "langsmith-trace": f"20240101T000000000000Z{ROOT}.20240101T000000500000Z{RUN}",
            "baggage": "langsmith-project=default",
        },
    ),
    Case(
        "LangSmith",
        {"session": "thread-7", "parent": ROOT},
        {
            "langsmith-trace": f"20240101T000000000000Z{ROOT}",
            "baggage": "langsmith-metadata=" + quote(json.dumps({"thread_id": "thread-7"})),
        },
        what="thread in baggage",
    ),
    Case(
        "OpenRouter",
        {"session": "or-1", "step": "summarise", "name": "my-app-trace", "parent": "sp-1"},
        body={
            "session_id": "or-1",
            "trace": {
                "trace_id": "trace-abc123",
                "trace_name": "my-app-trace",
                "span_name": "summarise",
                "parent_span_id": "sp-1",
            },
        },
    ),
    Case(
        "OpenRouter",
        {"session": "trace-abc123"},
        body={"trace": {"trace_id": "trace-abc123"}},
        what="trace alone",
    ),
    Case(
        "W3C and OpenTelemetry",
        {"session": TRACE, "parent": SPAN},
        {"traceparent": f"00-{TRACE}-{SPAN}-01"},
    ),
    Case(
        "W3C and OpenTelemetry",
        {"session": "conv 5", "parent": SPAN},
        {
            "traceparent": f"00-{TRACE}-{SPAN}-01",
            "baggage": "userId=alice, session.id=s-5, gen_ai.conversation.id=conv%205;prop=1",
        },
        what="conversation in baggage",
    ),
    Case("W3C and OpenTelemetry", {"session": "s-5"}, {"baggage": "session.id=s-5"}, what="session in baggage"),
    Case(
        "OpenAI body",
        {
            "session": "pck-1",
            "objective": Objective.THROUGHPUT,
            "fairness_id": "safe-1",
            "previous_response": "resp_1",
            "expected_tokens": 3,
        },
        body={
            "prompt_cache_key": "pck-1",
            "service_tier": "flex",
            "user": "user-1",
            "safety_identifier": "safe-1",
            "previous_response_id": "resp_1",
            "prediction": {"type": "content", "content": "class User"},
        },
    ),
    Case("OpenAI body", {"objective": Objective.LATENCY}, body={"service_tier": "priority"}, what="priority tier"),
    Case("OpenAI body", {}, body={"service_tier": "auto"}, what="auto tier"),
    Case("OpenAI body", {"session": "conv_1"}, body={"conversation": {"id": "conv_1"}}, what="conversation object"),
    Case("OpenAI body", {"session": "conv_1"}, body={"conversation": "conv_1"}, what="conversation"),
    Case("OpenAI body", {"session": "th-1"}, body={"metadata": {"thread_id": "th-1"}}, what="metadata"),
    Case(
        "OpenAI body",
        {"expected_tokens": 2},
        body={"prediction": {"type": "content", "content": [{"type": "text", "text": "12345678"}]}},
        what="prediction in parts",
    ),
    Case(
        "OpenAI SDK",
        {"retry_count": 2, "read_timeout_s": 600.0, "client_request_id": "req-1"},
        {
            "x-stainless-retry-count": "2",
            "x-stainless-read-timeout": "600.0",
            "x-client-request-id": "req-1",
        },
    ),
]


def said(hint: Hint) -> dict[str, Any]:
    given = {name for name, _ in hint.sources}
    return {field.name: getattr(hint, field.name) for field in fields(hint) if field.name in given}


def lines(headers: dict[str, str] | None) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for name, value in (headers or {}).items()]


@pytest.mark.parametrize("case", CASES, ids=[f"{case.row}: {case.what or 'documented'}" for case in CASES])
def test_a_convention_is_understood_from_its_documented_example(case: Case) -> None:
    parsed = parse(lines(case.headers), case.body)
    assert said(parsed.hint) == case.expected
    assert parsed.notes == ()


def test_every_row_has_an_example() -> None:
    assert {case.row for case in CASES} == {row.name for row in CONVENTIONS}


def test_every_header_and_field_of_the_table_is_in_an_example() -> None:
    shown = {name for case in CASES for name in case.headers or {}}
    keys = {key for case in CASES for key in case.body or {}}
    assert {name.decode() for name in HEADERS} <= shown
    assert set(BODY) <= keys


ONE_SESSION_EACH: list[tuple[dict[str, str], dict[str, Any]]] = [
    ({"x-claude-code-session-id": "claude"}, {}),
    ({"session-id": "codex"}, {}),
    ({"x-session-id": "opencode"}, {}),
    ({"x-dynamo-session-id": "dynamo"}, {}),
    ({"x-litellm-trace-id": "litellm"}, {}),
    ({}, {"vllm_xargs": {"agentic_context": {"program_id": "vllm"}}}),
    ({"helicone-session-id": "helicone"}, {}),
    ({}, {"tensorzero::episode_id": "tensorzero"}),
    ({"x-portkey-trace-id": "portkey"}, {}),
    ({"langsmith-trace": f"20240101T000000000000Z{ROOT}"}, {}),
    ({}, {"session_id": "openrouter"}),
    ({"traceparent": f"00-{TRACE}-{SPAN}-01"}, {}),
    ({}, {"prompt_cache_key": "openai"}),
]


@pytest.mark.parametrize("first", range(len(ONE_SESSION_EACH) - 1))
def test_rows_stand_in_a_fixed_order(first: int) -> None:
    better, worse = ONE_SESSION_EACH[first], ONE_SESSION_EACH[first + 1]
    alone = parse(lines(better[0]), better[1]).hint.session
    both = parse(lines({**worse[0], **better[0]}), {**worse[1], **better[1]}).hint.session
    assert alone is not None
    assert both == alone


@pytest.mark.parametrize(
    ("headers", "body", "note"),
    [
        ({"x-claude-code-session-id": ""}, None, "ignored;x-claude-code-session-id;reason=empty"),
        ({"x-session-id": "x" * 256}, None, "ignored;x-session-id;reason=too-long"),
        ({"traceparent": f"00-{'0' * 32}-{SPAN}-01"}, None, "ignored;traceparent;reason=not-a-traceparent"),
        ({"traceparent": f"ff-{TRACE}-{SPAN}-01"}, None, "ignored;traceparent;reason=not-a-traceparent"),
        ({"langsmith-trace": "x"}, None, "ignored;langsmith-trace;reason=not-a-dotted-order"),
        ({"x-codex-turn-metadata": "{"}, None, "ignored;x-codex-turn-metadata;reason=not-json"),
        ({"x-codex-turn-metadata": "[" * 9000}, None, "ignored;x-codex-turn-metadata;reason=not-json"),
        ({"x-codex-turn-metadata": "[]"}, None, "ignored;x-codex-turn-metadata;reason=not-an-object"),
        ({"x-stainless-retry-count": "-1"}, None, "ignored;x-stainless-retry-count;reason=out-of-range"),
        ({"x-stainless-read-timeout": "inf"}, None, "ignored;x-stainless-read-timeout;reason=out-of-range"),
        ({"x-llm-d-slo-ttft-ms": "soon"}, None, "ignored;x-llm-d-slo-ttft-ms;reason=not-an-integer"),
        ({"x-dynamo-session-final": "maybe"}, None, "ignored;x-dynamo-session-final;reason=not-a-boolean"),
        ({}, {"priority": 10**20}, "ignored;priority;reason=not-an-integer"),
        ({}, {"user": ["a"]}, "ignored;user;reason=not-text"),
        ({}, {"nvext": {"agent_hints": {"osl": 10**12}}}, "ignored;nvext.agent_hints.osl;reason=out-of-range"),
    ],
)
def test_a_bad_value_is_ignored_and_noted(headers: dict[str, str], body: dict[str, Any] | None, note: str) -> None:
    parsed = parse(lines(headers), body)
    assert parsed.hint == Hint()
    assert parsed.notes == (note,)


def test_a_bad_value_leaves_the_next_row_its_turn() -> None:
    hint = parse(lines({"x-claude-code-session-id": "\x01", "traceparent": f"00-{TRACE}-{SPAN}-00"})).hint
    assert hint.session == TRACE


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["agent_hints", "priority", "osl", "id", "content", "text", "a"]), inner)
    ),
    max_leaves=8,
)


@given(
    st.lists(st.tuples(st.sampled_from(sorted(HEADERS)), st.binary(max_size=80))),
    st.dictionaries(st.sampled_from(sorted(BODY)), JSON, max_size=4),
)
def test_foreign_values_never_fail_a_call(headers: list[tuple[bytes, bytes]], body: dict[str, Any]) -> None:
    hint = parse(headers, body).hint
    assert hint.session is None or 1 <= len(hint.session.encode()) <= 255
