"""The comparison's records: a JSON line per batch with all its runs, which a later run resumes from. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from loadtest.program.bounds import Rates
from loadtest.program.outcome import Outcome, from_fields

SELECT, COMPARE = "select", "compare"


@dataclass(frozen=True, slots=True)
class Turn:
    """One batch of programs through one system."""

    role: str
    """`select`: to choose the best peer. `compare`: on other seeds, to be compared."""
    load: str
    rate: float
    """Arrivals, as a part of the measured capacity; contexts, as a multiple of the KV capacity."""
    seed: int
    system: str


@dataclass(frozen=True, slots=True)
class Counters:
    """What the workers' own counters say, summed; of a batch, their growth."""

    queried_tokens: int = 0
    hit_tokens: int = 0
    preemptions: int = 0

    def since(self, before: Counters) -> Counters:
        """How much they grew."""
        return Counters(
            self.queried_tokens - before.queried_tokens,
            self.hit_tokens - before.hit_tokens,
            self.preemptions - before.preemptions,
        )


@dataclass(frozen=True, slots=True)
class Measured:
    """What a turn came to."""

    turn: Turn
    makespan_s: float
    counters: Counters
    runs: tuple[Outcome, ...]
    when_s: float = 0.0
    """Since the benchmark began."""

    @property
    def has_started(self) -> bool:
        """Whether its system came so far that a run ended well, or took any time."""
        return any(not run.error or run.took_s > 0 for run in self.runs)


@dataclass(slots=True)
class Records:
    """All that was measured."""

    rates: Rates | None = None
    kv_tokens: int = 0
    """Of all workers together."""
    workers: int = 0
    count: int = 0
    """Programs in a batch; 0 where that is not known."""
    capacity_per_s: dict[str, float] = field(default_factory=dict)
    """Programs a second, by load."""
    best: dict[str, list[str]] = field(default_factory=dict)
    """The chosen peers, by load."""
    batches: list[Measured] = field(default_factory=list)
    model: str = ""
    """That the workers serve; empty where that is not known."""
    provenance: list[Mapping[str, Any]] = field(default_factory=list)
    """Where it all comes from: of every run that measured some of it, the first one first."""

    def done(self) -> set[Turn]:
        """The turns that need not be taken again: those whose system started."""
        return {batch.turn for batch in self.batches if batch.has_started}

    def add(self, batch: Measured) -> None:
        """One more batch, in place of one of its turn whose system had not started; peers are chosen again then."""
        was_there = [each for each in self.batches if each.turn == batch.turn and not each.has_started]
        self.batches = [each for each in self.batches if each not in was_there]
        self.batches.append(batch)
        if was_there and batch.has_started and batch.turn.role == SELECT:
            self.best.pop(batch.turn.load, None)

    def lines(self) -> list[str]:
        """All of it, a line each."""
        lines = [_line("provenance", **facts) for facts in self.provenance]
        if self.rates is not None:
            lines.append(workers_line(self))
        lines += [_line("capacity", load=load, per_s=per_s) for load, per_s in self.capacity_per_s.items()]
        lines += [_line("best", load=load, systems=names) for load, names in self.best.items()]
        return lines + [batch_line(batch) for batch in self.batches]


def has_batches(lines: Iterable[str]) -> bool:
    """Whether a file of records holds anything that was measured through a system."""
    return any(line.startswith('{"kind":"batch"') for line in lines)


def workers_line(records: Records) -> str:
    """What is known of the workers. Raises: ValueError, before they were measured."""
    if records.rates is None:
        raise ValueError("nothing is known of the workers")
    known = {"kv_tokens": records.kv_tokens, "workers": records.workers, "count": records.count}
    return _line("workers", rates=asdict(records.rates), model=records.model, **known)


def batch_line(batch: Measured) -> str:
    """A batch as one line, so that a torn file never holds half of one."""
    return _line("batch", **asdict(batch))


def capacity_line(load: str, per_s: float) -> str:
    """The measured capacity of a load."""
    return _line("capacity", load=load, per_s=per_s)


def best_line(load: str, systems: list[str]) -> str:
    """The chosen peers of a load."""
    return _line("best", load=load, systems=systems)


def read(lines: Iterable[str]) -> Records:
    """What a file of records holds; a torn last line and other kinds are passed over."""
    records = Records()
    for line in lines:
        try:
            fields = json.loads(line)
        except json.JSONDecodeError:
            continue
        kind = fields.pop("kind")
        if kind == "workers":
            records.rates = Rates(**fields["rates"])
            records.kv_tokens, records.workers = fields["kv_tokens"], fields["workers"]
            records.count, records.model = fields["count"], fields.get("model", "")
        elif kind == "capacity":
            records.capacity_per_s[fields["load"]] = fields["per_s"]
        elif kind == "best":
            records.best[fields["load"]] = fields["systems"]
        elif kind == "batch":
            records.add(_measured(fields))
        elif kind == "provenance":
            records.provenance.append(fields)
    return records


def _measured(fields: Mapping[str, Any]) -> Measured:
    runs = tuple(map(from_fields, fields["runs"]))
    turn, counters = Turn(**fields["turn"]), Counters(**fields["counters"])
    return Measured(turn, fields["makespan_s"], counters, runs, fields["when_s"])


def _line(kind: str, **fields: object) -> str:
    return json.dumps({"kind": kind, **fields}, separators=(",", ":"))
