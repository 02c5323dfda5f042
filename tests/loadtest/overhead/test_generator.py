import asyncio
import contextlib

import pytest

from loadtest.mixes import Mix, body_templates, session_of
from loadtest.overhead.generator import CallPlan, generate
from loadtest.overhead.load import Loader


def plan(mix: Mix, connections: int = 4) -> CallPlan:
    return CallPlan(body_templates(mix, 1), "run", 1000, connections, mix.hinted)


@pytest.mark.parametrize("mix", [Mix(300), Mix(300, stream=True), Mix(65536, hinted=True)], ids=str)
async def test_exactly_the_asked_number_of_calls_is_answered(mock_port: int, mix: Mix) -> None:
    result = await generate(mock_port, plan(mix), calls=50, duration_s=30)
    assert (result.calls, result.failed) == (50, 0)
    assert 0 < result.p50_ms <= result.p99_ms


async def test_a_server_that_is_not_there_fails_the_calls_and_ends() -> None:
    result = await generate(9, plan(Mix(300)), calls=5, duration_s=30)
    assert result.failed == result.calls == 5


async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(asyncio.IncompleteReadError):  # opened for a call that there was none of
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    writer.close()
    await writer.wait_closed()


async def test_an_error_status_is_a_failed_call() -> None:
    refusals: set[asyncio.Task[None]] = set()

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        refusals.add(asyncio.create_task(refuse(reader, writer)))

    async with await asyncio.start_server(begin, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        result = await generate(port, plan(Mix(300)), calls=6, duration_s=30)
        _, left = await asyncio.wait(refusals, timeout=20)
    assert not left
    assert (result.calls, result.failed) == (6, 6)


def test_requests_of_a_hinted_plan_carry_their_session_and_step() -> None:
    request = plan(Mix(300, hinted=True)).request(17).decode()
    session, step = session_of(17, 4)
    assert f"x-workflow-session: run-{session}\r\n" in request
    assert f"x-workflow-step: step{step}\r\n" in request
    assert "000001017" in request.partition("\r\n\r\n")[2]


def test_two_runs_share_neither_numbers_nor_sessions(tmp_path: object) -> None:
    loader = Loader(folder=tmp_path, seed=1)  # type: ignore[arg-type]
    first, second = (loader.plan(Mix(300, hinted=True), 2) for _ in range(2))
    assert first.run != second.run
    assert first.first_number != second.first_number


def test_without_wrk_the_generator_measures_by_the_clock(mock_port: int, tmp_path: object) -> None:
    loader = Loader(folder=tmp_path, seed=1, uses_wrk=False)  # type: ignore[arg-type]
    result = loader.timed(mock_port, Mix(300), connections=2, duration_s=1)
    assert result.calls > 10
    assert result.failed == 0
