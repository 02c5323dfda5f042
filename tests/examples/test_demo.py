"""The example programs and the demo, on a running gateway."""

import asyncio
import os
import re
import signal
import sys
from pathlib import Path

import pytest

from examples import chat_agent, chat_agent_workflow, demo, map_reduce, map_reduce_workflow
from examples.gateways import Gateway, Unavailable
from gateway.graph.document import SessionDocument

ROOT = Path(__file__).parents[2]
DEADLINE_S = 60.0


def _fed_by(session: SessionDocument, step: str) -> set[str | None]:
    steps = {node["call_id"]: node["step"] for node in session["nodes"]}
    return {steps[edge["from"]] for edge in session["edges"] if steps[edge["to"]] == step}


async def _in_rotation(gateway: Gateway) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while len(await gateway.workers()) < 2:
            await asyncio.sleep(0.05)


async def test_map_reduce_is_one_session_whose_reduce_is_fed_by_its_maps(running):
    await _in_rotation(running)
    session, answer = await map_reduce.run(running.base_url, nonce=demo.nonce())
    shown = await running.session(session)
    assert answer
    assert (shown["name"], shown["state"]) == ("map-reduce", "ended")
    assert _fed_by(shown, "reduce") == {f"map.{day}" for day in range(len(map_reduce.NOTES))}


async def test_map_reduce_sent_whole_is_one_session_and_its_summaries_are_in_the_last_prompt(running):
    await _in_rotation(running)
    session, answer = await map_reduce_workflow.run(running.base_url, nonce=demo.nonce())
    shown = await running.session(session)
    assert answer
    assert (shown["name"], shown["state"]) == ("map-reduce", "ended")
    tokens = {node["step"]: node["tokens"] for node in shown["nodes"]}
    maps = [tokens[f"map.{day}"] for day in range(len(map_reduce.NOTES))]
    assert all(each["completion"] for each in maps)
    assert tokens["reduce"]["prompt"] > sum(each["completion"] for each in maps)


@pytest.mark.parametrize("program", [chat_agent, chat_agent_workflow])
async def test_a_conversation_stays_on_one_worker_and_its_turns_form_a_chain(running, program):
    await _in_rotation(running)
    session, answer = await program.run(running.base_url, nonce=demo.nonce())
    shown = await running.session(session)
    assert answer
    assert (shown["name"], shown["state"]) == ("night-desk", "ended")
    assert len({node["worker"] for node in shown["nodes"]}) == 1
    assert [_fed_by(shown, f"turn.{turn}") for turn in (1, 2, 3)] == [set(), {"turn.1"}, {"turn.2"}]


async def test_the_demo_shows_graphs_and_compares(running):
    await _in_rotation(running)
    code, output = await _demo(running, "--conversations", "2", "--rounds", "2")
    assert code == 0, output
    assert len(re.findall(r"^session (map-reduce|night-desk)-\w+ \(", output, re.MULTILINE)) == 2
    assert output.count("timeline\n") == 2
    arms = re.findall(r"all +(loomgate|round robin) +\S+ s +(\d+) \+ (\d+) tokens", output)
    assert [name for name, _, _ in arms] == ["loomgate", "round robin"]
    assert arms[0][1:] == arms[1][1:], "both arms do the same work"
    assert re.search(r"loomgate / round robin: \d+\.\d\d of the time", output)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="reads /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
async def test_a_signal_ends_the_demo_and_the_gateway_it_started(running, number):
    await _in_rotation(running)
    child = await _start(running, "--rounds", "500")
    assert child.stdout is not None
    async with asyncio.timeout(DEADLINE_S):
        while b"round 1" not in await child.stdout.readline():
            pass
        started = Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split()
        assert started
        child.send_signal(number)
        await child.communicate()
        while [pid for pid in started if Path(f"/proc/{pid}").exists()]:
            await asyncio.sleep(0.05)
    assert child.returncode == (-number if number == signal.SIGKILL else 130)


def test_without_a_gateway_the_demo_says_how_to_start_one(capsys):
    assert demo.main(["--base-url", "http://127.0.0.1:9/v1"]) == 1
    assert "make up" in capsys.readouterr().err


async def test_a_baseline_that_gets_no_workers_in_time_is_given_up(monkeypatch):
    from examples import gateways

    monkeypatch.setattr(gateways, "START_S", 3.0)
    with pytest.raises(Unavailable, match="round-robin"):
        async with gateways.round_robin(["http://127.0.0.1:9"]):
            pytest.fail("a worker that does not exist came up")


async def _demo(gateway: Gateway, *flags: str) -> tuple[int | None, str]:
    child = await _start(gateway, *flags)
    async with asyncio.timeout(DEADLINE_S):
        output, _ = await child.communicate()
    return child.returncode, output.decode()


async def _start(gateway: Gateway, *flags: str) -> asyncio.subprocess.Process:
    urls = ("--base-url", gateway.base_url, "--admin-url", gateway.admin_url)
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "examples.demo", *urls, *flags),
        cwd=ROOT,
        env=os.environ | {"OPENAI_API_KEY": "none"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
