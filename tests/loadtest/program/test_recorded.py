"""Recorded programs run as any other: same graph, lengths to scale, equal pieces equal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway.simulation.work import PlannedCall, PlannedProgram, Reply, Text
from loadtest.program import recorded
from loadtest.program.catalogue import check, program
from loadtest.program.graph import Lookup
from loadtest.program.recorded import FOLDER, RECORDINGS, NoTraces, Recording

HALF = Recording("otel", "unused", prompts=0.5, outputs=0.25, times=0.1)


def call(step: str, *pieces: Text | Reply, **fields) -> PlannedCall:
    return PlannedCall(step, tuple((piece,) for piece in pieces), output_tokens=40, **fields)


def made(*calls: PlannedCall):
    return recorded.program("one", PlannedProgram("one", "s", 0.0, calls), HALF)


def test_lengths_are_to_scale_and_replies_are_read():
    found = made(call("a", Text(1, 260)), call("b", Text(1, 260), Reply("a"), Text(2, 26)))
    first, second = found.asks
    assert len(first.text.split()) == 100
    assert first.max_tokens == second.max_tokens == 10
    assert second.before[0] == ("user", first.text)
    assert second.before[1] == ("assistant", "{{a}}")
    assert second.inputs == ("a",)
    assert found.last == "b"


def test_a_pause_stands_for_the_client_and_for_calls_that_are_only_followed():
    found = made(call("a", Text(1, 20)), call("b", Text(2, 20), after=("a",), gap_s=5.0))
    pause = next(step for step in found.steps if isinstance(step, Lookup))
    assert (pause.inputs, pause.takes_s) == (("a",), 0.5)
    assert found.asks[1].inputs == (pause.name,)


def test_recorded_moments_count_from_the_call_before():
    second = call("b", Text(2, 9), after=("a",), at_s=30)
    found = made(call("a", Text(1, 9)), second, call("c", Text(3, 9), at_s=50))
    assert {step.name: step.takes_s for step in found.steps if isinstance(step, Lookup)} == {
        "b.pause": 3.0,
        "c.pause": 5.0,
        "end": 0.0,
    }
    assert found.last == "end"


def test_it_ends_before_a_prompt_that_is_too_long():
    short, long = call("a", Text(1, 9)), call("b", Text(2, 9_000))
    found = recorded.shortened(PlannedProgram("one", "s", 0.0, (short, long, call("c", Text(3, 9)))), HALF)
    assert found is not None
    assert found.calls == (short,)
    assert recorded.shortened(PlannedProgram("one", "s", 0.0, (long,)), HALF) is None


def forget() -> None:
    recorded.recorded.cache_clear()
    recorded._short_ones.cache_clear()


@pytest.fixture
def traces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    forget()
    monkeypatch.setenv(FOLDER, str(tmp_path))
    yield tmp_path
    forget()


def test_conversations_of_a_file_share_what_they_shared(traces: Path):
    file = traces / RECORDINGS["conversation"].path
    file.parent.mkdir()
    turns = [
        {"timestamp": 0, "input_length": 1024, "output_length": 160, "hash_ids": [1, 2]},
        {"timestamp": 60_000, "input_length": 1536, "output_length": 160, "hash_ids": [1, 2, 3]},
        {"timestamp": 70_000, "input_length": 512, "output_length": 160, "hash_ids": [9]},
    ]
    file.write_text("\n".join(map(json.dumps, turns)))
    found = program("conversation", 1)
    assert [ask.max_tokens for ask in found.asks] == [10, 10]
    assert found.asks[1].text.startswith(found.asks[0].text)
    assert found.is_shared
    assert [step.takes_s for step in found.steps if isinstance(step, Lookup)] == [pytest.approx(0.3)]
    assert program("conversation", 1) is found


@pytest.mark.parametrize("name", RECORDINGS)
def test_a_missing_file_is_told_by_its_path(name: str, traces: Path):
    with pytest.raises(NoTraces, match=RECORDINGS[name].path):
        check([name])


def test_a_missing_folder_is_told_with_its_remedy(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(FOLDER, raising=False)
    forget()
    with pytest.raises(NoTraces, match=f"set {FOLDER}"):
        check(["graph"])


def test_a_file_without_a_program_is_told(traces: Path):
    file = traces / RECORDINGS["service-call"].path
    file.parent.mkdir()
    file.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n")
    with pytest.raises(NoTraces, match="no program"):
        check(["service-call"])
