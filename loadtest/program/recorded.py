"""Programs as they were recorded, small enough for a small model: the texts are filler of the recorded lengths.

What they have in common stays common: equal pieces of recorded prompts become equal pieces of text. Tools and
people are as quick as the model is small. The files are in the folder that `LOOMGATE_TRACES` names, as they were
published (`loadtest/traces` says where); they are not part of this project.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from random import Random
from typing import Final

import msgspec

from gateway.simulation.work import Message, PlannedCall, PlannedProgram, Reply
from loadtest.program.graph import Ask, Lookup, Program, Step
from loadtest.program.graph import Message as Said
from loadtest.program.prose import prose
from loadtest.traces import LOADERS

FOLDER: Final = "LOOMGATE_TRACES"
"""The environment variable."""
TOKENS_PER_WORD: Final = 1.3
MAX_TOKENS: Final = 1500
"""Of a prompt: a longer one ends its program before it."""


class NoTraces(Exception):
    """The recorded files are not where they are looked for."""


@dataclass(frozen=True, slots=True)
class Recording:
    """Which file, and what is left of its lengths and times."""

    loader: str
    path: str
    prompts: float
    outputs: float
    times: float
    least_calls: int = 1
    most_calls: int = 6


RECORDINGS: Final[Mapping[str, Recording]] = {
    "graph": Recording("otel", "otel_graphs", prompts=1.0, outputs=0.15, times=0.1, most_calls=15),
    "conversation": Recording(
        "mooncake", "mooncake/conversation_trace.jsonl", prompts=1 / 32, outputs=1 / 16, times=0.005, least_calls=2
    ),
    "coding-agent": Recording("miniswe", "miniswe", prompts=1 / 8, outputs=1 / 8, times=1.0),
    "service-call": Recording(
        "azure", "azure/AzureLLMInferenceTrace_conv.csv", prompts=1 / 4, outputs=1 / 12, times=1.0
    ),
}
"""By the name of the program."""


@lru_cache(maxsize=1024)
def recorded(name: str, seed: int) -> Program:
    """One of the programs recorded under the name, always the same for a seed. Raises: NoTraces."""
    return program(name, Random(f"{name}-{seed}").choice(_short_ones(name)), RECORDINGS[name])


@lru_cache(maxsize=len(RECORDINGS))
def _short_ones(name: str) -> tuple[PlannedProgram, ...]:
    recording = RECORDINGS[name]
    folder = os.environ.get(FOLDER)
    if folder is None:
        raise NoTraces(f"{name} is a recorded program: set {FOLDER} to the folder that has {recording.path}")
    path = Path(folder) / recording.path
    try:
        planned = LOADERS[recording.loader](path, 1.0)
    except (OSError, KeyError, ValueError, msgspec.MsgspecError) as error:
        raise NoTraces(f"{name}: {path}: {error}") from None
    found = tuple(each for each in map(partial(shortened, recording=recording), planned) if each is not None)
    if not found:
        raise NoTraces(f"{name}: {path} holds no program that is short enough")
    return found


def shortened(planned: PlannedProgram, recording: Recording) -> PlannedProgram | None:
    """What comes before the first call whose prompt is too long; None if that is too little."""
    calls = planned.calls[: recording.most_calls]
    many = next((at for at, call in enumerate(calls) if _prompt_tokens(call, calls, recording) > MAX_TOKENS), None)
    calls = calls[:many]
    return replace(planned, calls=calls) if len(calls) >= recording.least_calls else None


def program(name: str, planned: PlannedProgram, recording: Recording) -> Program:
    """A recorded program's graph: a pause is a lookup, as is the order of calls that read nothing of each other."""
    steps: list[Step] = []
    at_s: dict[str, float] = {}
    for call in planned.calls:
        at_s[call.step] = call.at_s
        since_s = max((at_s[name] for name in call.waits_for), default=0.0)
        steps += _steps(call, recording, recording.times * max(call.gap_s, call.at_s - since_s))
    read = {name for step in steps for name in step.inputs}
    ends = tuple(step.name for step in steps if step.name not in read)
    if len(ends) > 1:
        steps.append(Lookup("end", ends, _nothing))
    return Program(name, "", tuple(steps), is_shared=True)


def _steps(call: PlannedCall, recording: Recording, pause_s: float) -> list[Step]:
    """A call, and before it the pause that stands for its client's time and for calls that it only follows."""
    before = tuple(_message(message, recording) for message in call.messages)
    *said, (_, text) = before
    steps: list[Step] = []
    if pause_s or not set(call.reads).issuperset(call.after):
        pause = Lookup(f"{call.step}.pause", call.waits_for, _nothing, pause_s)
        steps.append(pause)
        text = f"{text}{{{{{pause.name}}}}}"
    steps.append(Ask(call.step, text, max(1, round(call.output_tokens * recording.outputs)), tuple(said)))
    return steps


def _message(message: Message, recording: Recording) -> Said:
    parts = [
        f"{{{{{piece.step}}}}}"
        if isinstance(piece, Reply)
        else prose(Random(piece.content), max(1, round(piece.tokens * recording.prompts / TOKENS_PER_WORD)))
        for piece in message
    ]
    is_reply = any(isinstance(piece, Reply) for piece in message)
    return ("assistant" if is_reply else "user"), " ".join(parts)


def _prompt_tokens(call: PlannedCall, calls: Sequence[PlannedCall], recording: Recording) -> float:
    outputs = {each.step: each.output_tokens * recording.outputs for each in calls}
    return sum(
        outputs[piece.step] if isinstance(piece, Reply) else piece.tokens * recording.prompts
        for message in call.messages
        for piece in message
    )


def _nothing(_values: Mapping[str, str]) -> str:
    return ""
