from __future__ import annotations

import http_sf
from hypothesis import given
from hypothesis import strategies as st

from hints.parse import parse
from hints.report import joined_notes, understood


def test_understood_names_foreign_sources_only() -> None:
    hint = parse(
        [(b"x-claude-code-session-id", b"abc"), (b"x-workflow-step", b"s"), (b"idempotency-key", b"k")],
        {"workflow": {"deadline_ms": 5}, "user": "u"},
    ).hint
    assert understood(hint) == (
        "deadline-ms;from=workflow.deadline_ms, step, idempotency-key, "
        "session;from=x-claude-code-session-id, fairness-id;from=user"
    )


def test_understood_is_a_structured_field() -> None:
    hint = parse(
        [(b"x-acme-session-id", b"abc")], {"tensorzero::episode_id": "e", "nvext": {"agent_hints": {"osl": 5}}}
    ).hint
    parsed = http_sf.parse(understood(hint).encode(), tltype="list")
    assert [(str(name), {key: str(value) for key, value in params.items()}) for name, params in parsed] == [
        ("expected-tokens", {"from": "nvext.agent_hints.osl"}),
        ("session", {"from": "x-acme-session-id"}),
    ]


def test_nothing_understood_is_empty() -> None:
    assert understood(parse([]).hint) == ""
    assert joined_notes(()) == ""


def test_notes_are_joined() -> None:
    assert joined_notes(("a;b", "c")) == "a;b, c"


@given(st.lists(st.text(max_size=80), max_size=60))
def test_notes_are_always_safe_in_a_header(notes: list[str]) -> None:
    value = joined_notes(notes)
    assert len(value) <= 1024
    assert all(0x20 <= ord(char) < 0x7F for char in value)


def test_notes_that_do_not_fit_are_said_to_be_missing() -> None:
    value = joined_notes(["x" * 300] * 5)
    assert value.endswith(", truncated")
    assert value.count("x" * 300) == 3
