"""`loomgate profile` as a process, in front of a simulated worker: a file that the simulator reads."""

from __future__ import annotations

import asyncio
import signal
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path

import pytest

from engines.simulated import Behaviour, SimulatedWorker, serve
from engines.simulated.costs import StepCosts
from engines.simulated.limits import EngineLimits
from engines.simulated.profile import Profile, read
from gateway.cli import main

LIMITS = EngineLimits(kv_blocks=300, max_num_batched_tokens=512, max_num_seqs=4)
FAST = Profile("m", StepCosts(0.002, 5e-6, 1e-4, 1e-8), LIMITS)


async def start(url: str, out: Path) -> Process:
    flags = ["--worker", url, "--out", str(out), "--max-num-batched-tokens", "512", "--max-num-seqs", "4"]
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway.cli", "profile", *flags, stdout=PIPE, stderr=PIPE
    )


async def test_it_writes_what_the_worker_is_like(tmp_path: Path) -> None:
    out = tmp_path / "p.json"
    async with serve(SimulatedWorker(Behaviour(), FAST)) as url, asyncio.timeout(60):
        process = await start(url, out)
        shown, said = await process.communicate()
    assert process.returncode == 0, said
    profile = read(out)
    assert (profile.model, profile.engine, profile.limits) == (
        "simulated",
        "0.32.0",
        EngineLimits(kv_blocks=300, max_num_batched_tokens=512, max_num_seqs=4),
    )
    assert len(profile.points) > 6
    assert (
        profile.costs.step_s > 0.001
    )  # whatever else this machine does meanwhile, a step takes no less than it takes
    assert b"mean error of the fit" in shown
    assert b"round 3 of 3" in said


async def test_a_worker_without_a_model_is_told_before_anything_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        body = b'{"data": []}'
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b" % (len(body), body))
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        flags = ["--worker", f"http://127.0.0.1:{port}", "--out", str(tmp_path / "p.json")]
        assert await asyncio.to_thread(main, ["profile", *flags]) == 1
    assert capsys.readouterr().err == f"loomgate: http://127.0.0.1:{port}: it serves no model\n"


def test_a_file_that_cannot_be_written_is_told_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for out in (tmp_path / "none" / "p.json", tmp_path):
        assert main(["profile", "--worker", "http://127.0.0.1:9", "--out", str(out)]) == 1
        said = capsys.readouterr().err
        assert said.startswith(f"loomgate: --out {out}: ")
        assert len(said.splitlines()) == 1


async def test_ctrl_c_keeps_what_there_is(tmp_path: Path) -> None:
    out = tmp_path / "p.json"
    async with serve(SimulatedWorker(Behaviour(), FAST)) as url, asyncio.timeout(60):
        process = await start(url, out)
        assert process.stderr is not None
        said = b""
        while b"round 2 of 3, 1 of" not in said:
            said += await process.stderr.readline()
        process.send_signal(signal.SIGINT)
        shown, rest = await process.communicate()
    assert process.returncode == 0, rest
    assert b"stopped after" in rest
    assert b"round 3 of 3" not in rest
    assert read(out).costs.step_s > 0
    assert b"written to" in shown


def test_a_worker_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", "--worker", "http://127.0.0.1:9", "--out", str(tmp_path / "p.json")]) == 1
    said = capsys.readouterr().err
    assert "http://127.0.0.1:9" in said
    assert len(said.splitlines()) == 1
    assert main(["profile", "--worker", "http://x:1", "--max-num-seqs", "0"]) == 2
    assert not (tmp_path / "p.json").exists()
