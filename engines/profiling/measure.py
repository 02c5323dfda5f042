"""Carrying out experiments on a worker, one after the other, as many rounds as there is time for."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from typing import Final

from engines.base import BadReply, Engine
from engines.profiling.experiments import DECODE_TOKENS, Decode, Experiment, Prefill, words
from engines.profiling.fit import Measured
from engines.profiling.streams import Stream, stream

ROUNDS: Final = 3
Progress = Callable[[str], None]


async def measure(
    engine: Engine,
    model: str,
    plan: Sequence[Experiment],
    found: list[Measured],
    *,
    within_s: float,
    progress: Progress,
) -> None:
    """Add to `found` what each experiment takes, round by round; nothing new is begun after `within_s`.

    Raises: EngineError.
    """
    now = asyncio.get_running_loop().time
    until_s = now() + within_s
    await stream(engine, model, words(16, _nonce()), 2)
    for turn in range(ROUNDS):
        for label, experiment in enumerate(plan):
            if now() >= until_s:
                return
            measured = await _carry_out(engine, model, experiment, label)
            if measured is not None:
                found.append(measured)
                progress(_line(turn, label, len(plan), measured))


async def _carry_out(engine: Engine, model: str, experiment: Experiment, label: int) -> Measured | None:
    if isinstance(experiment, Prefill):
        seen = await stream(engine, model, words(experiment.tokens, _nonce()), 1)
        return Measured("prefill", label, 1, seen.prompt_tokens - seen.cached_tokens, seen.first_s)
    return await _decode(engine, model, experiment, label)


async def _decode(engine: Engine, model: str, experiment: Decode, label: int) -> Measured | None:
    """A batch over prompts that are cached; None if its calls did not run together for long enough."""
    prompts = [words(experiment.tokens, _nonce()) for _ in range(experiment.sequences)]
    for prompt in prompts:
        await stream(engine, model, prompt, 1)
    try:
        async with asyncio.TaskGroup() as group:
            calls = [stream(engine, model, prompt, DECODE_TOKENS) for prompt in prompts]
            tasks = [group.create_task(call) for call in calls]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return together([task.result() for task in tasks], label)


def together(seen: Sequence[Stream], label: int) -> Measured | None:
    """The mean step while all of them were decoding; None if that was no two steps.

    Raises: BadReply, if a reply was not as long as it had to be.
    """
    if any(each.completion_tokens != DECODE_TOKENS for each in seen):
        raise BadReply(f"a reply had not the {DECODE_TOKENS} tokens that were asked for with ignore_eos")
    begin_s = max(each.tokens_s[0] for each in seen)
    end_s = min(each.tokens_s[-1] for each in seen)
    inside = [[at_s for at_s in each.tokens_s if begin_s <= at_s <= end_s] for each in seen]
    spans = [
        (times[-1] - times[0], (len(times) - 1) * DECODE_TOKENS / len(each.tokens_s))  # a token may have no text
        for each, times in zip(seen, inside, strict=True)
        if len(times) > 2
    ]
    if not spans or not sum(length_s for length_s, _ in spans):
        return None
    step_s = sum(length_s for length_s, _ in spans) / sum(steps for _, steps in spans)
    before = [sum(1 for at_s in each.tokens_s if at_s < begin_s) for each in seen]
    context = sum(
        each.prompt_tokens + skipped + len(times) / 2
        for each, skipped, times in zip(seen, before, inside, strict=True)
    )
    return Measured("decode", label, len(seen), context, step_s)


def _nonce() -> str:
    return secrets.token_hex(8)


def _line(turn: int, label: int, of: int, measured: Measured) -> str:
    what = (
        f"{measured.tokens:.0f} prompt tokens" if measured.kind == "prefill" else f"{measured.sequences} decoding"
    )
    return f"round {turn + 1} of {ROUNDS}, {label + 1} of {of}: {what}: {measured.took_s * 1000:.1f} ms"
