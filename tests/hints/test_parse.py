from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hints.model import NO_HINT, HintError, Mode, Objective, Output, Parsed
from hints.own import BY_HEADER, OWN
from hints.parse import NOTHING, OWN_BODY_KEY, parse

PLAIN_HEADERS = [
    (b"host", b"127.0.0.1:8080"),
    (b"content-type", b"application/json"),
    (b"authorization", b"Bearer key"),
    (b"x-stainless-lang", b"python"),
    (b"x-request-id", b"1"),
]
SESSION = (b"x-workflow-session", b"run-42")


def hinted(*lines: tuple[str, str], body: dict[str, Any] | None = None) -> Any:
    return parse([SESSION, *((name.encode(), value.encode()) for name, value in lines)], body)


def refusal(headers: list[tuple[bytes, bytes]], body: dict[str, Any] | None = None) -> HintError:
    with pytest.raises(HintError) as refused:
        parse(headers, body)
    return refused.value


def outcome(headers: list[tuple[bytes, bytes]], body: dict[str, Any] | None = None) -> Parsed | HintError:
    try:
        return parse(headers, body)
    except HintError as error:
        return error


def test_a_request_without_hints_gets_the_shared_answer() -> None:
    assert parse(PLAIN_HEADERS, {"model": "m", "messages": []}) is NOTHING
    assert parse(PLAIN_HEADERS) is NOTHING
    assert parse([], {}) is NOTHING


@pytest.mark.parametrize(
    ("header", "value", "field", "expected"),
    [
        ("x-workflow-session", '"run 42"', "session", "run 42"),
        ("x-workflow-name", "map-reduce", "name", "map-reduce"),
        ("x-workflow-step", " reduce ", "step", "reduce"),
        ("x-workflow-parent", "call-1", "parent", "call-1"),
        ("x-workflow-inputs", "plan, files.0, plan", "inputs", ("plan", "files.0")),
        ("x-workflow-input", "plan", "inputs", ("plan",)),
        (
            "x-workflow-outputs",
            'plan, files;json="$.files[*]"',
            "outputs",
            (Output("plan"), Output("files", (("json", "$.files[*]"),))),
        ),
        ("x-workflow-output", "plan", "outputs", (Output("plan"),)),
        ("x-workflow-after", "review", "after", ("review",)),
        ("x-workflow-objective", "Latency", "objective", Objective.LATENCY),
        ("x-workflow-deadline-ms", "5000", "deadline_ms", 5000),
        ("x-workflow-expected-tokens", "200", "expected_tokens", 200),
        ("x-workflow-mode", "deferred", "mode", Mode.DEFERRED),
        ("x-workflow-final", "?1", "final", True),
        ("idempotency-key", '"8e03978e-40d5"', "idempotency_key", "8e03978e-40d5"),
    ],
)
def test_each_header(header: str, value: str, field: str, expected: object) -> None:
    session = [] if field == "session" else [SESSION]
    parsed = parse([*session, (header.encode(), value.encode())])
    assert getattr(parsed.hint, field) == expected
    assert dict(parsed.hint.sources)[field] == next(row.header for row in OWN if row.field == field)
    assert parsed.notes == ()


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("session", "Überlauf 日本", "Überlauf 日本"),
        ("session", 42, "42"),
        ("inputs", ["plan", "files.0"], ("plan", "files.0")),
        ("input", "plan", ("plan",)),
        (
            "outputs",
            ["plan", {"name": "files", "json": "$.files[*]", "strip": True}],
            (Output("plan"), Output("files", (("json", "$.files[*]"), ("strip", True)))),
        ),
        ("outputs", "a, b;raw", (Output("a"), Output("b", (("raw", True),)))),
        ("objective", "throughput", Objective.THROUGHPUT),
        ("deadline_ms", 5000.0, 5000),
        ("expected_tokens", "200", 200),
        ("mode", "wait", Mode.WAIT),
        ("final", False, False),
        ("final", 1, True),
        ("idempotency_key", "k-1", "k-1"),
    ],
)
def test_each_body_field(field: str, value: object, expected: object) -> None:
    parsed = parse([], {OWN_BODY_KEY: {"session": "s", field: value}})
    canonical = {"input": "inputs", "output": "outputs"}.get(field, field)
    assert getattr(parsed.hint, canonical) == expected
    assert dict(parsed.hint.sources)[canonical] == f"workflow.{canonical}"
    assert parsed.notes == ()


def test_the_body_beats_the_header_field_by_field() -> None:
    parsed = hinted(
        ("x-workflow-step", "from-header"),
        ("x-workflow-name", "from-header"),
        body={"workflow": {"step": "from-body", "name": None}},
    )
    assert parsed.hint.session == "run-42"
    assert parsed.hint.step == "from-body"
    assert parsed.hint.name == "from-header"


def test_our_headers_beat_foreign_ones() -> None:
    hint = hinted(("x-claude-code-session-id", "theirs"), ("x-claude-code-agent-id", "a-1")).hint
    assert (hint.session, hint.agent) == ("run-42", "a-1")
    assert hint.sources == (("session", "x-workflow-session"), ("agent", "x-claude-code-agent-id"))


def test_a_foreign_session_is_enough_for_a_data_hint() -> None:
    hint = parse([(b"x-session-id", b"ses"), (b"x-workflow-outputs", b"plan")]).hint
    assert (hint.session, hint.outputs) == ("ses", (Output("plan"),))


def test_a_list_may_come_in_several_lines_and_spellings() -> None:
    lines = [("x-workflow-inputs", "a"), ("x-workflow-inputs", "b, c"), ("x-workflow-input", "d")]
    assert hinted(*lines).hint.inputs == ("a", "b", "c", "d")


def test_a_repeated_single_value_keeps_the_first_and_says_so() -> None:
    same = parse([SESSION, SESSION])
    assert (same.hint.session, same.notes) == ("run-42", ())
    other = parse([SESSION, (b"x-workflow-session", b"run-43")])
    assert other.hint.session == "run-42"
    assert other.notes == ("ignored;x-workflow-session;reason=repeated",)


def test_parameters_where_none_are_known_are_noted() -> None:
    parsed = hinted(("x-workflow-inputs", "a;quorum=2, b"))
    assert parsed.hint.inputs == ("a", "b")
    assert parsed.notes == ("parameters-ignored;x-workflow-inputs",)


@pytest.mark.parametrize(
    ("header", "note"),
    [
        ("x-workflow-sesion", "unknown-header;x-workflow-sesion;did-you-mean=x-workflow-session"),
        ("x-workflow-session-id", "unknown-header;x-workflow-session-id;did-you-mean=x-workflow-session"),
        ("x-workflow-ouput", "unknown-header;x-workflow-ouput;did-you-mean=x-workflow-outputs"),
        ("x-workflow-zzzzzzzzzzzzzzzz", "unknown-header;x-workflow-zzzzzzzzzzzzzzzz"),
    ],
)
def test_an_unknown_header_of_ours_is_noted(header: str, note: str) -> None:
    parsed = parse([(header.encode(), b"x")])
    assert parsed.hint is NO_HINT
    assert parsed.notes == (note,)


def test_an_unknown_body_field_is_noted() -> None:
    parsed = parse([], {"workflow": {"deadline-ms": 5, "session": "s"}})
    assert parsed.notes == ("unknown-field;deadline-ms;did-you-mean=deadline_ms",)


@pytest.mark.parametrize(
    ("header", "value", "reason"),
    [
        ("x-workflow-session", "", "empty"),
        ("x-workflow-step", "x" * 256, "too-long"),
        ("x-workflow-name", "a\x07b", "control-character"),
        ("x-workflow-objective", "fast", "unknown-value"),
        ("x-workflow-deadline-ms", "soon", "not-an-integer"),
        ("x-workflow-deadline-ms", "0", "out-of-range"),
        ("x-workflow-expected-tokens", "-5", "out-of-range"),
        ("x-workflow-expected-tokens", "999999999999", "out-of-range"),
        ("x-workflow-final", "perhaps", "not-a-boolean"),
        ("x-workflow-step", "é", "not-ascii"),
    ],
)
def test_a_bad_steering_hint_is_ignored_and_noted(header: str, value: str, reason: str) -> None:
    parsed = parse([(header.encode(), value.encode())])
    assert parsed.hint is NO_HINT
    assert parsed.notes == (f"ignored;{header};reason={reason}",)


@pytest.mark.parametrize(
    ("header", "value", "corrected"),
    [
        ("x-workflow-outputs", "my plan, files", "x-workflow-outputs: my-plan, files"),
        ("x-workflow-outputs", '["plan", "files"]', "x-workflow-outputs: plan, files"),
        ("x-workflow-output", "(plan)", "x-workflow-outputs: plan"),
        ("x-workflow-outputs", "plan, plan", "x-workflow-outputs: plan"),
        (
            "x-workflow-outputs",
            'files;json="$.files[*]',
            'x-workflow-outputs: plan, files;json="$.files[*]"',
        ),
        ("x-workflow-inputs", "a!b", "x-workflow-inputs: ab"),
        ("x-workflow-inputs", "!", "x-workflow-inputs: plan, files.0"),
        ("x-workflow-after", "plän", "x-workflow-after: plan, review"),
        ("x-workflow-mode", "defered", "x-workflow-mode: deferred"),
        ("x-workflow-mode", "", "x-workflow-mode: deferred"),
    ],
)
def test_a_bad_data_hint_fails_with_the_corrected_line(header: str, value: str, corrected: str) -> None:
    error = refusal([SESSION, (header.encode(), value.encode())])
    assert error.corrected == corrected
    field = BY_HEADER[header.encode()].field
    assert error.field == field
    assert corrected in str(error)


@pytest.mark.parametrize(
    ("value", "corrected"),
    [
        ("my plan", '"workflow": {"outputs": "my-plan"}'),
        (["my plan"], '"workflow": {"outputs": "plan, files;json=\\"$.files[*]\\""}'),
        (7, '"workflow": {"outputs": "plan, files;json=\\"$.files[*]\\""}'),
        ([{"name": 1}], '"workflow": {"outputs": "plan, files;json=\\"$.files[*]\\""}'),
        ([{"name": "a", "json": 1}], '"workflow": {"outputs": "plan, files;json=\\"$.files[*]\\""}'),
    ],
)
def test_a_bad_data_field_fails_with_the_corrected_field(value: object, corrected: str) -> None:
    error = refusal([SESSION], {"workflow": {"outputs": value}})
    assert error.corrected == corrected


def test_a_body_field_that_is_understood_saves_a_bad_header() -> None:
    parsed = hinted(("x-workflow-outputs", "(("), body={"workflow": {"outputs": ["plan"]}})
    assert parsed.hint.outputs == (Output("plan"),)


def test_workflow_must_be_an_object() -> None:
    assert refusal([SESSION], {"workflow": "plan"}).field == "workflow"
    assert parse([SESSION], {"workflow": None}).hint.session == "run-42"


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ((b"x-workflow-inputs", b"a"), "inputs needs"),
        ((b"x-workflow-outputs", b"a"), "outputs needs"),
        ((b"x-workflow-after", b"a"), "after needs"),
        ((b"x-workflow-mode", b"deferred"), "mode needs"),
    ],
)
def test_a_data_hint_needs_a_session(line: tuple[bytes, bytes], named: str) -> None:
    error = refusal([line])
    assert named in error.message
    assert error.corrected == "x-workflow-session: run-42"


def test_a_session_that_was_ignored_is_named_when_one_is_needed() -> None:
    error = refusal([(b"x-workflow-session", "é".encode()), (b"x-workflow-outputs", b"a")])
    assert "ignored;x-workflow-session;reason=not-ascii" in error.message


def test_a_first_try_says_nothing() -> None:
    assert parse([(b"x-stainless-retry-count", b"0")]) is NOTHING


def test_waiting_needs_no_session() -> None:
    assert parse([(b"x-workflow-mode", b"wait")]).hint.mode is Mode.WAIT


def test_a_note_repeats_nothing_a_log_could_trip_over() -> None:
    assert parse([], {"workflow": {"a\nb, c;d": 1}}).notes == ("unknown-field;a?b??c?d",)


def test_lists_are_bounded_however_they_are_written() -> None:
    thousand = ",".join(f"v{number}" for number in range(1000))
    assert refusal([SESSION], {"workflow": {"inputs": [thousand, thousand]}}).field == "inputs"


def test_notes_are_bounded() -> None:
    parsed = parse([(b"x-workflow-%d" % number, b"x") for number in range(10_000)])
    assert len(parsed.notes) == 16


def test_long_values_are_read_like_short_ones() -> None:
    names = b", ".join(b"v%d" % number for number in range(500))
    assert len(parse([SESSION, (b"x-workflow-inputs", names)]).hint.inputs) == 500


NAMES = st.one_of(
    st.sampled_from(sorted(BY_HEADER)),
    st.sampled_from([b"x-workflow-", b"x-workflow-x", b"x-a-session-id", b"baggage", b"traceparent"]),
    st.binary(max_size=20),
)
VALUES = st.one_of(st.binary(max_size=40), st.text(alphabet='ab ,;="[]\\?1', max_size=20).map(str.encode))
STEERING = sorted(name for name, row in BY_HEADER.items() if not row.is_data)


@given(st.lists(st.tuples(NAMES, VALUES), max_size=8))
def test_only_hint_errors_are_raised_and_only_for_data(headers: list[tuple[bytes, bytes]]) -> None:
    result = outcome(headers)
    if isinstance(result, HintError):
        assert any(BY_HEADER[name].is_data for name, _ in headers if name in BY_HEADER)
        assert result.message
    else:
        assert all(getattr(result.hint, field) is not None for field, _ in result.hint.sources)


@given(st.lists(st.tuples(st.sampled_from(STEERING), st.binary(max_size=300)), max_size=6))
def test_steering_headers_never_fail_a_call(headers: list[tuple[bytes, bytes]]) -> None:
    parse(headers)


@given(st.lists(st.tuples(NAMES, VALUES), max_size=6))
def test_the_same_request_is_read_the_same(headers: list[tuple[bytes, bytes]]) -> None:
    first, second = outcome(headers), outcome(headers)
    assert first == second or str(first) == str(second)


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4) | st.just("name"), inner),
    max_leaves=6,
)
STEERING_FIELDS = sorted(row.field for row in OWN if not row.is_data)


@given(st.dictionaries(st.sampled_from(STEERING_FIELDS) | st.text(max_size=6), JSON, max_size=5))
def test_steering_fields_of_any_json_never_fail_a_call(workflow: dict[str, Any]) -> None:
    data = {row.field for row in OWN if row.is_data} | {"input", "output"}
    parse([], {"workflow": {key: value for key, value in workflow.items() if key not in data}})


@given(JSON)
def test_a_body_of_any_json_raises_only_hint_errors(value: Any) -> None:
    for field in ("inputs", "outputs", "after", "mode"):
        result = outcome([SESSION], {"workflow": {field: value}})
        assert isinstance(result, Parsed) or result.corrected is not None


def test_names_that_clients_make_up_are_not_kept_without_bound() -> None:
    from hints import parse as module

    for number in range(5000):
        parse([(b"made-up-%d" % number, b"x"), (b"n" * 60_000 + b"%d" % number, b"x")])
    kept = module._SILENT
    assert len(kept) <= 1024
    assert max(map(len, kept)) <= 64
