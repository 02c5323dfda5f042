"""The benchmark of filling ahead runs end to end in front of simulated workers, and its counters show the fills."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest

from engines.simulated import Behaviour, SimulatedWorker, serve
from loadtest.ahead import COMPARED, VARIANTS

SLOW = Behaviour(prefill_tokens_per_s=5000, decode_tokens_per_s=100, output_tokens=120)


@pytest.mark.skipif(shutil.which("redis-server") is None, reason="needs redis-server")
async def test_each_variant_runs_and_its_counters_show_what_it_does(
    tmp_path: Path,
) -> None:
    file = tmp_path / "runs.json"
    async with serve(SimulatedWorker(SLOW)) as one, serve(SimulatedWorker(SLOW)) as other:
        arguments = ["--quick", "--worker", one, "--worker", other, "--json", str(file), "--limit-s", "120"]
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "loadtest.ahead", *arguments, stdout=PIPE, stderr=PIPE
        )
        printed, said = await process.communicate()
    assert process.returncode == 0, said.decode()

    runs = {(run["program"], run["variant"]): run for run in json.loads(file.read_text())["runs"]}
    assert set(runs) == {(program, variant) for program, variants in COMPARED.items() for variant in variants}
    for variant in COMPARED["pair"]:
        pair, (consumer,) = runs["pair", variant], runs["pair", variant]["consumers"]
        fills = VARIANTS[variant]["LOOMGATE_AHEAD__FILL"] == "true"
        assert pair["engine_requests"] == 2 + fills
        assert (consumer["cached_tokens"] > 0.8 * consumer["prompt_tokens"]) is fills
    whole, pieces = runs["stream", "fill"], runs["stream", "piecewise"]
    assert whole["engine_requests"] == 2 < pieces["engine_requests"]
    assert pieces["consumers"][0]["cached_tokens"] > whole["consumers"][0]["cached_tokens"]
    at_the_end, one_by_one = (runs["items", variant]["consumers"][0] for variant in COMPARED["items"])
    assert one_by_one["first_token_s"] < at_the_end["first_token_s"]
    assert len({seen["worker"] for seen in runs["spread", "siblings"]["consumers"]}) == 2
    assert b"| pair, fill" in printed
