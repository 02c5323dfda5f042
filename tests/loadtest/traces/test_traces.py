"""Recorded loads, read from small files of the same form."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway.simulation.work import Reply, Text
from loadtest.simulate import main
from loadtest.traces import LOADERS


def lines(path: Path, *rows: dict[str, object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_mooncakes_requests_that_continue_each_other_are_one_program(tmp_path: Path) -> None:
    rows = [
        {"timestamp": 0, "input_length": 1200, "output_length": 20, "hash_ids": [0, 1, 2]},
        {"timestamp": 500, "input_length": 600, "output_length": 20, "hash_ids": [0, 9]},
        {"timestamp": 4000, "input_length": 1700, "output_length": 40, "hash_ids": [0, 1, 3, 4]},
    ]
    first, other = LOADERS["mooncake"](lines(tmp_path / "a.jsonl", *rows), 0.0625)
    assert [call.at_s for call in first.calls] == [0.0, 4.0]
    assert first.calls[1].after == ("turn-0",)
    assert (other.start_s, len(other.calls)) == (0.5, 1)
    assert first.calls[0].messages == ((Text(0, 32), Text(1, 32), Text(2, 11)),)
    assert first.calls[1].messages[0][:2] == first.calls[0].messages[0][:2]
    assert first.calls[0].output_tokens == 1


def test_azures_calls_come_when_they_came(tmp_path: Path) -> None:
    path = tmp_path / "code.csv"
    path.write_text(
        "TIMESTAMP,ContextTokens,GeneratedTokens\n"
        "2023-11-16 18:17:03.9799600,4808,10\n2023-11-16 18:17:04.4799600,110,27\n"
    )
    first, second = LOADERS["azure"](path, 1.0)
    assert (first.start_s, second.start_s) == (0.0, 0.5)
    assert second.calls[0].output_tokens == 27
    assert first.calls[0].messages[0][0] != second.calls[0].messages[0][0]


def span(name: str, began: int, ended: int, reply: str, *messages: tuple[str, str], parent: str | None = None):
    attributes = {
        "gen_ai.input.messages": json.dumps([{"role": role, "content": words} for role, words in messages]),
        "gen_ai.output.text": reply,
    }
    at = "2026-02-25T10:00:%02d.000000"
    return {
        "span_id": name,
        "parent_span_id": parent,
        "start_time": at % began,
        "end_time": at % ended,
        "attributes": attributes,
    }


def test_spans_that_quote_a_reply_read_it(tmp_path: Path) -> None:
    spans = [
        span("join", 6, 9, "all", ("user", "q"), ("assistant", "one" * 40), ("assistant", "two" * 40)),
        span("a", 0, 2, "one" * 40, ("user", "q")),
        span("b", 1, 4, "two" * 40, ("user", "q")),
        span("child", 9, 10, "end", ("user", "x"), parent="join"),
    ]
    (tmp_path / "fan_in.json").write_text(json.dumps({"spans": spans}))
    (program,) = LOADERS["otel"](tmp_path, 1.0)
    calls = {call.step: call for call in program.calls}
    assert calls["join"].reads == ("a", "b")
    assert (calls["join"].gap_s, calls["b"].gap_s, calls["child"].after) == (2.0, 1.0, ("join",))
    assert calls["a"].messages[0] == calls["b"].messages[0] == calls["join"].messages[0]
    assert calls["join"].messages[1] == (Reply("a"),)


def test_an_agents_turns_share_what_they_begin_with(tmp_path: Path) -> None:
    said = "x" * 600
    rows = [
        {"timestamp": 10_000_000, "input": said, "output": "y" * 400, "session_id": "s"},
        {"timestamp": 19_000_000, "input": said + "z" * 600, "output": "y", "session_id": "s"},
    ]
    lines(tmp_path / "s.jsonl", *rows)
    (program,) = LOADERS["miniswe"](tmp_path, 1.0)
    assert program.calls[1].gap_s == pytest.approx(9.0 - 2.0)
    first, second = (call.messages[0] for call in program.calls)
    assert second[:2] == first[:2]
    assert second[2] != first[2]


def test_the_command_runs_a_trace_and_says_what_it_cannot_read(tmp_path: Path, capsys) -> None:
    rows = [{"timestamp": 100 * i, "input_length": 700, "output_length": 9, "hash_ids": [0, i]} for i in range(20)]
    path = lines(tmp_path / "a.jsonl", *rows)
    out = tmp_path / "out.json"
    flags = ["--trace", f"mooncake:{path}", "--policies", "round_robin", "session", "--json", str(out)]
    assert main(flags) == 0
    shown = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in shown] == ["policies", "round_robin", "session"]
    assert json.loads(out.read_text())["runs"]["session"][0]["calls"] == 20
    assert main(["--trace", "nothing"]) == 2
    assert "KIND:PATH" in capsys.readouterr().err
    assert main(["--load", "agents", "--workers", "0"]) == 2
    assert main(["--load", "agents", "--speed", "0"]) == 2
    assert "above 0" in capsys.readouterr().err
    assert main(["--load", "agents", "--profile", str(path)]) == 2
    assert "no profile" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("kind", "words", "told"),
    [
        ("mooncake", '{"timestamp": 1}', "input_length"),
        ("miniswe", "{", "truncated"),
        ("azure", "TIME,TOKENS\n1,2", "TIMESTAMP"),
        ("otel", '{"spans": []}', "holds no program"),
        ("mooncake", "", "holds no program"),
    ],
)
def test_a_file_that_is_no_trace_is_said(kind: str, words: str, told: str, tmp_path: Path, capsys) -> None:
    (tmp_path / "file").write_text(words)
    assert main(["--trace", f"{kind}:{tmp_path / 'file'}"]) == 2
    assert told in capsys.readouterr().err


def test_the_same_seed_prints_the_same_table(capsys) -> None:
    tables = []
    for _ in range(2):
        assert main(["--load", "mix", "--count", "15", "--policies", "session", "gateway"]) == 0
        tables.append(capsys.readouterr().out)
    assert tables[0] == tables[1]
