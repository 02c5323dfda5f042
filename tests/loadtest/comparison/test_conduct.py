"""The turns of a plan, on workers and systems that only seem to be there: what is run, kept and refused."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from engines.base import EngineError
from loadtest.children import ChildError
from loadtest.comparison import conduct
from loadtest.comparison.conduct import CAPACITY_LIMIT_S, RUN_LIMIT_S, Conduct
from loadtest.comparison.plan import Plan
from loadtest.comparison.record import Counters, Records, read
from loadtest.comparison.systems import System, Workers
from loadtest.program.arrivals import Batch
from loadtest.program.outcome import Outcome
from tests.loadtest.comparison.made import RATES

PLAN = Plan(
    loads=("single",),
    rates=(1.2,),
    ours=("loomgate/plain",),
    peers=("round_robin",),
    select_seeds=(1,),
    compare_seeds=(11,),
    count=4,
    finalists=1,
)
WORKERS = Workers(("http://a:1", "http://b:2"), "m", kv_tokens=64_000)


@dataclass
class Stage:
    """What would start, measure and wait."""

    broken: set[str] = field(default_factory=set)
    """Systems that do not start."""
    limit_s: float = 0.0
    limits_s: dict[int, float] = field(default_factory=dict)
    """Of a batch's runs, by how many there were."""

    @contextmanager
    def serving(self, chosen: System, _workers: Workers, _folder: Path) -> Iterator[str]:
        if chosen.name in self.broken:
            raise ChildError("no port is free")
        yield "http://c:3/v1"

    def measurement(self, *_: object, limit_s: float, **__: object) -> Stage:
        self.limit_s = limit_s
        return self

    async def batch(self, batch: Batch) -> list[Outcome]:
        self.limits_s[len(batch.starts)] = self.limit_s
        made = (batch.mode, batch.load, 0, batch.seed)
        return [Outcome(one.program, *made, one.copy, "1", one.at_s, 2.0, calls_s=(9.0,)) for one in batch.starts]


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    made = Stage()

    async def nothing(*_: object) -> None:
        """The workers idle."""

    async def no_counters(*_: object) -> Counters:
        return Counters()

    async def rates(*_: object) -> object:
        return RATES

    for name, fake in {
        "until_idle": nothing,
        "counters": no_counters,
        "measure_rates": rates,
        "serving": made.serving,
        "Measurement": made.measurement,
    }.items():
        monkeypatch.setattr(conduct, name, fake)
    return made


async def conducted(records: Records, folder: Path, workers: Workers = WORKERS) -> list[str]:
    """The lines that were written."""
    lines: list[str] = []
    progress: list[str] = []
    await Conduct(
        PLAN, workers, records, write=lines.append, folder=folder, ends_s=math.inf, progress=progress.append
    ).run()
    return lines


async def test_what_is_written_is_what_there_is(stage: Stage, tmp_path: Path) -> None:
    records = Records()
    assert read(await conducted(records, tmp_path)) == records
    assert (records.model, records.kv_tokens, records.count) == ("m", 64_000, 4)
    assert {batch.turn.system for batch in records.batches} == {"loomgate/plain", "round_robin"}


async def test_the_burst_has_a_limit_of_its_own(stage: Stage, tmp_path: Path) -> None:
    """All its programs are there at once: the last one takes as long as all of them."""
    await conducted(Records(), tmp_path)
    assert stage.limits_s == {8: CAPACITY_LIMIT_S, 4: RUN_LIMIT_S}
    assert CAPACITY_LIMIT_S > RUN_LIMIT_S


async def test_what_did_not_start_is_tried_again(stage: Stage, tmp_path: Path) -> None:
    stage.broken = {"round_robin"}
    records = Records()
    lines = await conducted(records, tmp_path)
    assert [batch.has_started for batch in records.batches] == [True, False]
    stage.broken = set()
    again = read(lines)
    more = await conducted(again, tmp_path)
    assert [batch.turn.system for batch in again.batches] == ["loomgate/plain", "round_robin"]
    assert all(batch.has_started for batch in again.batches)
    assert read([*lines, *more]) == again
    assert not await conducted(again, tmp_path)


@pytest.mark.parametrize(
    "other",
    [replace(WORKERS, model="n"), replace(WORKERS, kv_tokens=1000), replace(WORKERS, urls=WORKERS.urls[:1])],
    ids=["another model", "another cache", "one worker less"],
)
async def test_records_of_other_workers_are_not_gone_on_with(other: Workers, stage: Stage, tmp_path: Path) -> None:
    records = Records()
    await conducted(records, tmp_path)
    with pytest.raises(EngineError) as refused:
        await conducted(records, tmp_path, other)
    assert "2 workers of m with 64,000 tokens" in str(refused.value)
    assert f"{len(other.urls)} workers of {other.model} with {other.kv_tokens:,} tokens" in str(refused.value)


async def test_older_records_do_not_say_their_model(stage: Stage, tmp_path: Path) -> None:
    records = Records()
    await conducted(records, tmp_path)
    assert not await conducted(replace(records, model=""), tmp_path)
