"""What is remembered of a call: `record` builds by position, so every field is named once here."""

from gateway.nouns import Edge, Record, Usage
from gateway.schedule.events import Dispatch
from gateway.states import CallState, Outcome
from tests.gateway.calls import arrived_call


def test_a_finished_call_becomes_a_record_with_each_value_in_its_place() -> None:
    call = arrived_call()
    call.to(CallState.READY)
    call.begin(Dispatch("call-1", "w0", attempt=2, why="prefix", priority=0, cached_tokens=5), 100.5)
    call.first_byte_s = 101.0
    call.usage = Usage(8, 4, 6)
    call.end(Outcome.DONE, 200, 102.0)
    assert call.record() == Record(
        call_id="call-1",
        tenant="t",
        session="s",
        name="writer",
        step="draft",
        parent="plan",
        route="completions",
        model="m",
        state=CallState.TERMINAL,
        outcome=Outcome.DONE,
        status=200,
        worker="w0",
        why="prefix",
        attempts=2,
        arrived_at=1_700_000_000.0,
        queued_s=0.5,
        first_byte_s=1.0,
        done_s=2.0,
        prompt_tokens_estimate=7,
        usage=Usage(8, 4, 6),
        cached_tokens_predicted=5,
        objective="latency",
        depth=0,
        edges=(Edge("call-0", "hint"),),
    )


def test_a_call_that_was_never_dispatched_has_no_worker_and_no_times() -> None:
    record = arrived_call().record()
    assert (record.worker, record.why, record.attempts, record.cached_tokens_predicted) == (None, None, 0, 0)
    assert (record.queued_s, record.first_byte_s, record.done_s) == (0.0, None, None)


def test_a_note_is_told_once_and_is_not_taken_for_a_longer_one() -> None:
    call = arrived_call()
    call.note("unused-input;files", "continued")
    call.note("unused-input;file", "continued")
    assert call.notes == "unused-input;files, continued, unused-input;file"


def test_no_notes_leave_no_header() -> None:
    call = arrived_call()
    call.note()
    assert call.notes == ""
