"""What was learned, in a compact form, and what others learned, taken over where nothing is known here yet. Pure.

Only what this gateway has no experience of is taken over, and it counts as a few samples: it is a start, which own
experience soon outweighs. So nothing is counted twice, however often replicas read each other, and in whatever
order. Several replicas' knowledge of a model or a program is merged by its weight; of a worker's speed the first is
taken, and its knee from whoever measured it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec import DecodeError, Struct, msgpack

from gateway.estimate.estimators import Estimators
from gateway.estimate.knee import Knee
from gateway.estimate.lengths import Key
from gateway.estimate.sketch import Dumped, Sketch
from gateway.estimate.work import UNIT_S, Step, Work

MODEL, WORKER, PROGRAM = "model", "worker", "program"
MAX_LENGTHS, MAX_LENGTHS_BYTES = 128, 48 << 10
"""Of one model, those learned of last; and what they may take together, or the model would be too long to tell."""


class ModelBlob(Struct, array_like=True, frozen=True):
    """What was learned of one model."""

    reports: int
    weights: tuple[float, ...]
    """Of a prompt's tokens; empty if none were reported."""
    lengths: list[tuple[str | None, str | None, int, Dumped]]


class WorkerBlob(Struct, array_like=True, frozen=True):
    """The sums of one worker's two relations, and its knee: base, call and prompt token (plain types alone: what a
    compiled class says of its fields is nothing that msgspec could decode by)."""

    prefill: list[float]
    decode: list[float]
    knee: tuple[float, float, float | None] | None = None


class StepBlob(Struct, array_like=True, frozen=True):
    """One step of a program."""

    seen: int
    follows: dict[str, int]
    left_s: Dumped
    left_tokens: Dumped
    gap: Dumped


class ProgramBlob(Struct, array_like=True, frozen=True):
    """One program."""

    runs: int
    total_s: Dumped
    total_tokens: Dumped
    steps: dict[str, StepBlob]


def dump(known: Estimators) -> Iterator[tuple[str, bytes]]:
    """What is known by experience, by subject; a subject is some milliseconds' work at most."""
    yield from _models(known)
    for worker, rates in known.service.workers().items():
        if rates.samples:
            yield f"{WORKER}/{worker}", msgpack.encode(WorkerBlob(*rates.dump(), rates.knee))
    for (tenant, name), work in reversed(known.programs.works().items()):
        if work.runs:
            yield f"{PROGRAM}/{tenant}\0{name}", msgpack.encode(_program(work))


def adopt(known: Estimators, subject: str, blobs: Sequence[bytes]) -> None:
    """Start from what others know of a subject. Raises: ValueError for what `dump` never gives."""
    kind, _, name = subject.partition("/")
    try:
        if kind == MODEL:
            _adopt_model(known, name, [msgpack.decode(blob, type=ModelBlob) for blob in blobs])
        elif kind == WORKER:
            for blob in blobs:
                sums = msgpack.decode(blob, type=WorkerBlob)
                knee = None if sums.knee is None else Knee(*sums.knee)
                known.service.lend(name, sums.prefill, sums.decode, knee)
        elif kind == PROGRAM:
            tenant, _, program = name.partition("\0")
            work = Work()
            for blob in blobs:
                work.merge(_work(msgpack.decode(blob, type=ProgramBlob)))
            known.programs.adopt((tenant, program), work)
    except DecodeError as error:
        raise ValueError(str(error)) from error


def _models(known: Estimators) -> Iterator[tuple[str, bytes]]:
    lengths: dict[str, list[tuple[str | None, str | None, int, Dumped]]] = {}
    left_bytes: dict[str, int] = {}
    for (model, name, step, template), sketch in known.lengths.learned():
        of_model = lengths.setdefault(model, [])
        left = left_bytes.get(model, MAX_LENGTHS_BYTES)
        if len(of_model) < MAX_LENGTHS and left > 0:
            told = (name, step, template, sketch.dump())
            left_bytes[model] = left = left - len(msgpack.encode(told))
            if left >= 0:
                of_model.append(told)
    weights = known.tokens.learned()
    for model in {**lengths, **weights}:
        reports, of_bytes = weights.get(model, (0, ()))
        yield f"{MODEL}/{model}", msgpack.encode(ModelBlob(reports, of_bytes, lengths.get(model, [])))


def _adopt_model(known: Estimators, model: str, blobs: Sequence[ModelBlob]) -> None:
    known.tokens.adopt(model, [(blob.reports, blob.weights) for blob in blobs if blob.reports])
    merged: dict[Key, Sketch] = {}
    for blob in blobs:
        for name, step, template, dumped in blob.lengths:
            merged.setdefault((model, name, step, template), Sketch()).merge(Sketch.loaded(dumped))
    for key, sketch in merged.items():
        known.lengths.adopt(key, sketch)


def _program(work: Work) -> ProgramBlob:
    steps = {
        name: StepBlob(step.seen, step.follows, step.left_s.dump(), step.left_tokens.dump(), step.gap.dump())
        for name, step in work.steps.items()
    }
    return ProgramBlob(work.runs, work.total_s.dump(), work.total_tokens.dump(), steps)


def _work(blob: ProgramBlob) -> Work:
    work = Work()
    work.runs = max(0, blob.runs)
    work.total_s, work.total_tokens = Sketch.loaded(blob.total_s, UNIT_S), Sketch.loaded(blob.total_tokens)
    for name, told in blob.steps.items():
        step: Step = work.step(name)
        step.seen = max(0, told.seen)
        for after, count in told.follows.items():
            step.followed_by(after, max(0, count))
        step.left_s, step.left_tokens = Sketch.loaded(told.left_s, UNIT_S), Sketch.loaded(told.left_tokens)
        step.gap = Sketch.loaded(told.gap, UNIT_S)
    return work
