"""`loomgate whatif`: what it prints, and what it says of records, flags and gateways that are none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from engines.simulated.costs import StepCosts
from engines.simulated.profile import Profile, write
from gateway.cli import FAILED, OK, USAGE, main
from gateway.graph.document import SessionDocument
from tests.simulation.documents import node, session

DOCUMENTS = [
    session(f"s{number}", node(f"{number}.a", number, worker=f"w{number % 2}"), node(f"{number}.b", number + 2.0))
    for number in range(4)
]


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    path = tmp_path / "profile.json"
    write(Profile("m", StepCosts()), path)
    return path


@pytest.fixture
def records(tmp_path: Path) -> Path:
    return written(tmp_path, DOCUMENTS)


def written(tmp_path: Path, documents: list[SessionDocument]) -> Path:
    path = tmp_path / "records.jsonl"
    path.write_bytes(b"".join(orjson.dumps(document) + b"\n" for document in documents))
    return path


def rows(printed: str) -> dict[str, list[str]]:
    """The table's cells, by what each line is called."""
    lines = [line.split("  ", 1) for line in printed.splitlines()]
    return {name: rest.split() for name, rest in lines}


def test_it_prints_what_was_and_what_would_have_been(
    records: Path, profile: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "kept.jsonl"
    flags = ["--profile", str(profile), "--workers", "1", "--policies", "session", "round_robin"]
    assert main(["whatif", str(records), *flags, "--keep", str(kept)]) == OK
    shown = rows(capsys.readouterr().out)
    assert list(shown) == [
        "policies",
        "recorded",
        "session, 2 workers",
        "session, 1 workers",
        "round_robin, 1 workers",
    ]
    assert kept.read_bytes() == records.read_bytes()


def test_added_distance_is_not_in_what_was(
    records: Path, profile: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["whatif", str(records), "--profile", str(profile)]) == OK
    near = rows(capsys.readouterr().out)
    assert main(["whatif", str(records), "--profile", str(profile), "--round-trip-ms", "500"]) == OK
    far = rows(capsys.readouterr().out)
    assert list(far) == ["policies", "recorded", "session, 2 workers", "session, 2 workers, 500 ms further"]
    assert far["session, 2 workers"] == near["session, 2 workers"]
    assert float(far["session, 2 workers, 500 ms further"][0]) > float(near["session, 2 workers"][0]) + 0.9


@pytest.mark.parametrize(
    "flag", ["--round-trip-ms=-5", "--round-trip-ms=nan", "--round-trip-ms=far", "--workers=0"]
)
def test_a_flag_that_cannot_be_is_named(
    flag: str, records: Path, profile: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["whatif", str(records), "--profile", str(profile), flag]) == USAGE
    assert flag.partition("=")[0] in capsys.readouterr().err


@pytest.mark.parametrize("missing", ["edges", "nodes", "name"])
def test_records_that_lack_a_part_are_named(
    missing: str, tmp_path: Path, profile: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = {name: value for name, value in DOCUMENTS[0].items() if name != missing}
    path = written(tmp_path, [document])  # type: ignore[list-item]
    assert main(["whatif", str(path), "--profile", str(profile)]) == USAGE
    said = capsys.readouterr().err
    assert f"{path} holds no sessions as a gateway answers them" in said
    assert missing in said


def test_it_says_what_it_cannot_read(
    tmp_path: Path, records: Path, profile: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = tmp_path / "empty"
    empty.write_text("")
    assert main(["whatif", str(empty), "--profile", str(profile)]) == USAGE
    assert "ended well" in capsys.readouterr().err
    assert main(["whatif", str(records), "--profile", str(empty)]) == USAGE
    assert "no profile" in capsys.readouterr().err
    assert main(["whatif", str(tmp_path / "none"), "--profile", str(profile)]) == FAILED
    assert main(["whatif", "http://127.0.0.1:9", "--profile", str(profile)]) == FAILED


Answers = Callable[[str], tuple[int, bytes]]


async def asked(answers: Answers, profile: Path) -> int:
    """The command in front of a gateway that answers so."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        status, body = answers(head.split(b" ")[1].decode())
        writer.write(
            b"HTTP/1.1 %d x\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b" % (status, len(body), body)
        )
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        return await asyncio.to_thread(main, ["whatif", url, "--profile", str(profile)])


def answers_like_a_gateway(target: str) -> tuple[int, bytes]:
    """All of `DOCUMENTS` are listed, on two pages; the second of them is gone when it is asked for."""
    if target.startswith("/v1/workflow/sessions?"):
        half = DOCUMENTS[2:] if "after=x" in target else DOCUMENTS[:2]
        has_more = "after=x" not in target
        return 200, orjson.dumps({"data": half, "has_more": has_more, "next": "x" if has_more else None})
    name = target.rpartition("/")[2]
    found = {document["session"]: document for document in DOCUMENTS}[name]
    return (404, b"{}") if name == "s1" else (200, orjson.dumps(found))


async def test_a_session_that_is_gone_by_now_is_passed_over(
    profile: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await asked(answers_like_a_gateway, profile) == OK
    shown = capsys.readouterr()
    assert "loomgate: 1 sessions were gone before they were read" in shown.err
    assert "recorded" in rows(shown.out)


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        (lambda _: (401, b"no such key"), "answered 401: no such key"),
        (lambda _: (503, b"{}"), "answered 503"),
        (lambda _: (404, b"{}"), "answered no list of sessions"),
        (lambda _: (200, b"<html>"), "answered no JSON"),
    ],
)
async def test_what_a_gateway_refuses_is_no_wrong_usage(
    answers: Answers, said: str, profile: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await asked(answers, profile) == FAILED
    assert said in capsys.readouterr().err
