"""What other clients already send: one table, one row a convention, in the fixed order of precedence.

Every row is mapped on its own: products disagree about the sign of a priority, about what a session is, and
about whether a path or a span names a step, so nothing is shared between rows but the formats. All of it only
steers. `HEADERS`, `PATTERNS` and `BODY` are the table indexed for reading; a lower rank wins.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, cast

from hints import formats
from hints.formats import ident
from hints.model import Fields, Objective

Reader = Callable[[object], Fields]


@dataclass(frozen=True, slots=True)
class Convention:
    """One client's or product's way of saying things, best source first.

    `headers` are full names; `suffixes` match any other `x-<vendor><suffix>`; `body` are dotted paths.
    """

    name: str
    headers: Mapping[str, Reader]
    suffixes: Mapping[str, Reader]
    body: tuple[tuple[str, Reader], ...]


class Reading(NamedTuple):
    """One cell of the table: where a value comes from and how it is read."""

    rank: int
    source: str
    read: Reader


def _row(
    name: str,
    headers: Mapping[str, Reader] | None = None,
    *,
    suffixes: Mapping[str, Reader] | None = None,
    body: tuple[tuple[str, Reader], ...] = (),
) -> Convention:
    return Convention(name, headers or {}, suffixes or {}, body)


def _is(field: str, read: Callable[[object], object] = ident) -> Reader:
    """The whole value is one field."""
    return lambda value: cast(Fields, {field: read(value)})


def _thread(value: object) -> Fields:
    """Codex: a thread is the agent that calls, and the session where no session is named."""
    return {"session": ident(value), "agent": ident(value)}


def _window(value: object) -> Fields:
    """Codex: `<thread>:<generation>`; the generation counts compactions."""
    return {"session": ident(ident(value).rpartition(":")[0])}


def _turn(value: object) -> Fields:
    turn = formats.json_object(value)
    spoken = {
        "session": turn.get("session_id") or turn.get("thread_id"),
        "agent": turn.get("thread_id"),
        "parent": turn.get("parent_thread_id"),
    }
    return cast(Fields, {field: ident(said) for field, said in spoken.items() if said is not None})


def _dynamo_priority(value: object) -> Fields:
    """Higher first; a strict tier stands above any plain priority."""
    plain, tier = formats.member(value, "priority"), formats.member(value, "strict_priority")
    if plain is None and tier is None:
        return {}
    steps = 0 if plain is None else formats.higher_first(plain)
    tiers = 0 if tier is None else formats.higher_first(tier)
    return {"priority": steps + 2 * formats.PRIORITY_BOUND * tiers}


def _deadline(value: object) -> Fields:
    return {"deadline_ms": max(1, round(formats.seconds(value) * 1000))}


def _llm_d_objective(value: object) -> Fields:
    """The name of an InferenceObjective: ours where it is one of our words, else the client's class."""
    name = ident(value)
    if name.lower() in Objective.__members__.values():
        return {"objective": Objective(name.lower())}
    return {"request_class": name}


def _ttft(value: object) -> Fields:
    return {"ttft_ms": formats.milliseconds(value), "objective": Objective.LATENCY}


def _tpot(value: object) -> Fields:
    return {"tpot_ms": formats.milliseconds(value), "objective": Objective.LATENCY}


def _helicone_path(value: object) -> Fields:
    own, parent = formats.path(value)
    said: Fields = {"step": own, "agent": own}
    return said if parent is None else {**said, "parent": parent}


def _langsmith_baggage(value: object) -> Fields:
    """A thread of LangSmith spans several traces; its id travels in the run's metadata."""
    metadata = dict(formats.baggage(value)).get("langsmith-metadata")
    if metadata is None:
        return {}
    known = formats.json_object(metadata)
    thread = next((known[key] for key in ("session_id", "thread_id", "conversation_id") if known.get(key)), None)
    return {} if thread is None else {"session": ident(thread)}


def _langsmith_trace(value: object) -> Fields:
    trace, run = formats.dotted_order(value)
    return {"session": trace, "parent": run}


def _otel_baggage(value: object) -> Fields:
    members = dict(formats.baggage(value))
    session = members.get("gen_ai.conversation.id") or members.get("session.id")
    return {"session": ident(session)} if session else {}


def _traceparent(value: object) -> Fields:
    trace, span = formats.traceparent(value)
    return {"session": trace, "parent": span}


_TIERS: dict[object, Objective] = {"flex": Objective.THROUGHPUT, "priority": Objective.LATENCY}


def _service_tier(value: object) -> Fields:
    objective = _TIERS.get(ident(value))
    return {} if objective is None else {"objective": objective}


def _prediction(value: object) -> Fields:
    """A predicted output says about how long the output will be: four bytes a token."""
    content = formats.member(value, "content")
    parts = content if isinstance(content, list) else [{"text": content}]
    texts = [formats.member(part, "text") for part in parts]
    size = sum(len(text.encode("utf-8", "replace")) for text in texts if isinstance(text, str))
    return {"expected_tokens": formats.tokens(-(-size // 4))} if size else {}


def _conversation(value: object) -> Fields:
    return {"session": ident(formats.member(value, "id") if isinstance(value, Mapping) else value)}


def _retries(value: object) -> Fields:
    """The SDK sends the count with every call; a first try says nothing."""
    count = formats.whole(value)
    return {"retry_count": count} if count else {}


CONVENTIONS: tuple[Convention, ...] = (
    _row(
        "Claude Code",
        {
            "x-claude-code-session-id": _is("session"),
            "x-claude-code-agent-id": _is("agent"),
            "x-claude-code-parent-agent-id": _is("parent"),
            "x-claude-code-request-class": _is("request_class"),
            "x-claude-code-compaction": lambda _: {"request_class": "compaction"},
            "x-claude-code-context-compacted": lambda _: {"context_compacted": True},
            "x-claude-code-prev-tool-durations": _is("tool_ms", formats.tool_durations),
        },
    ),
    _row(
        "Codex",
        {
            "session-id": _is("session"),
            "thread-id": _thread,
            "x-codex-parent-thread-id": _is("parent"),
            "x-codex-window-id": _window,
            "x-codex-turn-metadata": _turn,
        },
    ),
    _row(
        "OpenCode",
        {
            "x-session-id": _is("session"),
            "x-parent-session-id": _is("parent"),
            "x-session-affinity": _is("session"),
            "x-opencode-session": _is("session"),
        },
    ),
    _row(
        "Dynamo",
        {
            "x-dynamo-session-id": _is("session"),
            "x-dynamo-parent-session-id": _is("parent"),
            "x-dynamo-session-final": _is("final", formats.flag),
        },
        body=(
            ("nvext.agent_hints", _dynamo_priority),
            ("nvext.agent_hints.osl", _is("expected_tokens", formats.tokens)),
            ("nvext.agent_hints.speculative_prefill", _is("expects_next", formats.flag)),
        ),
    ),
    _row(
        "LiteLLM",
        {"x-litellm-session-id": _is("session"), "x-litellm-trace-id": _is("session")},
        suffixes={"-parent-session-id": _is("parent"), "-session-id": _is("session")},
        body=(
            ("litellm_session_id", _is("session")),
            ("metadata.session_id", _is("session")),
            ("priority", _is("priority", formats.lower_first)),
        ),
    ),
    _row(
        "vLLM router",
        {"x-session-id": _is("session")},
        body=(
            ("vllm_xargs.agentic_context.program_id", _is("session")),
            ("vllm_xargs.agentic_context.session_id", _is("session")),
            ("vllm_xargs.agentic_context.parent_program_id", _is("parent")),
            ("vllm_xargs.agentic_context.blocks_parent", _is("blocks_parent", formats.flag)),
            ("vllm_xargs.agentic_context.expected_resume", _is("expects_next", formats.flag)),
            ("vllm_xargs.agentic_context.agent_role", _is("request_class")),
            ("vllm_xargs.agentic_context.expected_output_length", _is("expected_tokens", formats.tokens)),
            ("vllm_xargs.agentic_context.deadline_seconds", _deadline),
            ("vllm_xargs.agentic_context.priority", _is("priority", formats.higher_first)),
        ),
    ),
    _row(
        "llm-d",
        {
            "x-llm-d-inference-fairness-id": _is("fairness_id"),
            "x-llm-d-inference-objective": _llm_d_objective,
            "x-llm-d-slo-ttft-ms": _ttft,
            "x-llm-d-slo-tpot-ms": _tpot,
        },
    ),
    _row(
        "Helicone",
        {
            "helicone-session-id": _is("session"),
            "helicone-session-path": _helicone_path,
            "helicone-session-name": _is("name"),
        },
    ),
    _row("TensorZero", body=(("tensorzero::episode_id", _is("session")),)),
    _row(
        "Portkey",
        {
            "x-portkey-trace-id": _is("session"),
            "x-portkey-span-id": _is("agent"),
            "x-portkey-parent-span-id": _is("parent"),
            "x-portkey-span-name": _is("step"),
        },
    ),
    _row("LangSmith", {"baggage": _langsmith_baggage, "langsmith-trace": _langsmith_trace}),
    _row(
        "OpenRouter",
        body=(
            ("session_id", _is("session")),
            ("trace.trace_id", _is("session")),
            ("trace.trace_name", _is("name")),
            ("trace.span_name", _is("step")),
            ("trace.parent_span_id", _is("parent")),
        ),
    ),
    _row("W3C and OpenTelemetry", {"baggage": _otel_baggage, "traceparent": _traceparent}),
    _row(
        "OpenAI body",
        body=(
            ("conversation", _conversation),
            ("metadata.conversation_id", _is("session")),
            ("metadata.thread_id", _is("session")),
            ("prompt_cache_key", _is("session")),
            ("previous_response_id", _is("previous_response")),
            ("service_tier", _service_tier),
            ("prediction", _prediction),
            ("safety_identifier", _is("fairness_id")),
            ("user", _is("fairness_id")),
        ),
    ),
    _row(
        "OpenAI SDK",
        {
            "x-stainless-retry-count": _retries,
            "x-stainless-read-timeout": _is("read_timeout_s", formats.seconds),
            "x-client-request-id": _is("client_request_id"),
        },
    ),
)

HEADERS: dict[bytes, tuple[Reading, ...]] = {}
"""Readings by header name, lower case."""
SUFFIXES: dict[bytes, Reading] = {}
"""Readings of any other `x-<vendor><suffix>`, longest suffix first."""
BODY: dict[str, tuple[tuple[tuple[str, ...], Reading], ...]] = {}
"""Paths and readings by the first key of the path."""


def _index() -> None:
    rank = 0
    for row in CONVENTIONS:
        for name, read in row.headers.items():
            rank += 1
            HEADERS[name.encode()] = (*HEADERS.get(name.encode(), ()), Reading(rank, name, read))
        for suffix, read in row.suffixes.items():
            rank += 1
            SUFFIXES[suffix.encode()] = Reading(rank, suffix, read)
        for path, read in row.body:
            rank += 1
            keys = tuple(path.split("."))
            BODY[keys[0]] = (*BODY.get(keys[0], ()), (keys, Reading(rank, path, read)))


_index()
