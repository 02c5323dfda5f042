"""The checker of histories finds what is wrong with one, and nothing wrong with one that is sound."""

from __future__ import annotations

import pytest

from tests.chaos.history import (
    Accepted,
    Dispatched,
    Event,
    Kind,
    Outcome,
    Read,
    Sent,
    Stored,
    rendered_values,
    violations,
)

SOUND: list[Event] = [
    Sent("c", "acme", "s", "<c> got {{v}}"),
    Accepted("c"),
    Sent("p", "acme", "s", "<p> say"),
    Accepted("p"),
    Dispatched("p", "<p> say"),
    Stored("acme", "s", "v", "call-1", 1),
    Dispatched("p", "<p> say"),
    Stored("acme", "s", "v", "call-1", 2, "mine"),
    Dispatched("c", "<c> got mine"),
    Sent("q", "evil", "s", "<q> say"),
    Accepted("q"),
    Stored("evil", "s", "v", "call-2", 1, "theirs"),
    Read("acme", "s", "v", "mine"),
    Read("evil", "s", "v", "theirs"),
    Outcome("p", 200, "mine"),
    Outcome("q", 200, "theirs"),
    Outcome("c", 200, "got mine"),
    Outcome("c", 200, "got mine"),
]
SOUND_PARTS = {type(event).__name__: event for event in SOUND}


def kinds(history: list[Event]) -> list[Kind]:
    return [violation.kind for violation in violations(history)]


def test_a_sound_history_is_found_sound() -> None:
    assert violations(SOUND) == []
    assert len(SOUND_PARTS) == 6


@pytest.mark.parametrize(
    ("kind", "seeded"),
    [
        (Kind.LOST, [Sent("x", "acme", "s"), Accepted("x")]),
        (Kind.TWO_OUTCOMES, [Outcome("c", 424, "")]),
        (Kind.TWO_OUTCOMES, [Outcome("c", 200, "got something else")]),
        (Kind.TWO_VALUES, [Stored("acme", "s", "v", "call-1", 2, "another")]),
        (Kind.TWO_VALUES, [Dispatched("c", "<c> got nothing known")]),
        (Kind.TWO_VALUES, [Read("acme", "s", "v", "mine, but cut")]),
        (Kind.EARLY_READ, [Read("acme", "s", "later", "x"), Stored("acme", "s", "later", "call-3", 1, "x")]),
        (Kind.EARLY_READ, [Read("acme", "other", "v", "mine")]),
        (Kind.CROSS_TENANT, [Dispatched("c", "<c> got theirs")]),
        (Kind.CROSS_TENANT, [Read("evil", "s", "v", "mine")]),
        (Kind.CROSS_TENANT, [Read("evil", "another", "w", "mine")]),
        (Kind.EPOCH_BACK, [Stored("acme", "s", "v", "call-1", 1, "mine")]),
        (Kind.OTHER_PROMPT, [Dispatched("p", "<p> say it differently")]),
        (Kind.UNKNOWN_CALL, [Outcome("nobody's", 200)]),
    ],
)
def test_each_kind_of_fault_is_found_by_itself(kind: Kind, seeded: list[Event]) -> None:
    assert kinds([*SOUND, *seeded]) == [kind]


@pytest.mark.parametrize("missing", range(len(SOUND)))
def test_a_consumer_that_ran_before_any_one_commit_is_found(missing: int) -> None:
    """Of the sound history's commits, those whose value was read are needed: without one, it is a fault."""
    event = SOUND[missing]
    without = [*SOUND[:missing], *SOUND[missing + 1 :]]
    needed = isinstance(event, Stored) and event.value is not None
    assert (Kind.EARLY_READ in kinds(without)) == needed


EARLY: list[Event] = [
    Sent("c", "acme", "s", "<c> got {{v}}", begins_early=True),
    Accepted("c"),
    Dispatched("c", "<c> got mine"),
    Stored("acme", "s", "v", "call-1", 1, "mine"),
    Outcome("c", 200, "got mine"),
]


def test_a_call_that_may_begin_early_needs_the_commit_when_its_reply_is_seen() -> None:
    *begun, stored, outcome = EARLY
    assert violations(EARLY) == []
    assert kinds([*begun, outcome, stored]) == [Kind.EARLY_READ]
    assert kinds([*begun, outcome]) == [Kind.EARLY_READ]
    assert kinds([*begun, Outcome("c", 424, "its producer failed")]) == []


def test_a_call_that_began_with_a_value_that_was_replaced_must_not_be_answered() -> None:
    *begun, _, outcome = EARLY
    replaced = Stored("acme", "s", "v", "call-2", 1, "another")
    assert kinds([*begun, replaced, outcome]) == [Kind.TWO_VALUES]
    assert kinds([*begun, replaced, Dispatched("c", "<c> got another"), outcome]) == []
    assert kinds([*begun, replaced, Outcome("c", 503, "superseded")]) == []


def test_a_placeholder_that_was_sent_as_it_is_was_read_too_early() -> None:
    history = [Sent("c", "acme", "s", "<c> got {{v}}"), Dispatched("c", "<c> got {{v}}")]
    assert kinds(history) == [Kind.EARLY_READ]


def test_values_are_read_out_of_a_rendered_prompt() -> None:
    assert rendered_values("{{a}} and {{b.0}}.", "x\ny and {{z}}.") == {"a": "x\ny", "b.0": "{{z}}"}
    assert rendered_values("(plain)", "(plain)") == {}
    assert rendered_values("{{a}} and", "x or") is None
