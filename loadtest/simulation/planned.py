"""The benchmark's programs as the simulator's plans: the same graphs, texts by number, lookups as gaps. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from random import Random
from typing import Final

from gateway.simulation.work import TENANT, Message, Piece, PlannedCall, PlannedProgram, Reply, Text, number
from hints.model import Objective
from loadtest.program.arrivals import Start
from loadtest.program.catalogue import program
from loadtest.program.graph import PLACEHOLDER, Ask, Lookup, Program
from loadtest.program.prose import prose

BYTES_PER_TOKEN: Final = 5.6
"""Of the filler prose, by SmolLM2's tokenizer; a digit is a token of its own."""
TEMPLATE_TOKENS: Final = 8
"""What its chat template adds to a message, as engines count: prompts come out at 0.97 to 1.08 of what they are."""
NONCE_DIGITS: Final = 12
"""Of the number that a prompt begins with, so that nobody else's is like it."""
WORDS_PER_TOKEN: Final = 0.75


def planned(starts: Iterable[Start], nonce: str = "") -> list[PlannedProgram]:
    """Every start as a program of its own; a shared system message is the batch's."""
    return [
        plan(
            program(start.program, start.copy if start.seed is None else start.seed),
            f"{start.program}-{index}",
            start.at_s,
            nonce,
            start.tenant or TENANT,
        )
        for index, start in enumerate(starts)
    ]


def plan(program: Program, session: str, start_s: float, nonce: str, tenant: str = TENANT) -> PlannedProgram:
    """One run of a program."""
    whose = number(nonce if program.is_shared else session) % 10**NONCE_DIGITS
    system = text(f"{whose:0{NONCE_DIGITS}} {program.system}")
    values = _values(program)
    lookups = {step.name: step for step in program.steps if isinstance(step, Lookup)}
    calls = tuple(_call(ask, program, system, lookups, values) for ask in program.asks)
    return PlannedProgram(program.name, session, start_s, calls, tenant)


def text(words: str) -> Text:
    """A text by its number, as long as its bytes make it."""
    digits = sum(map(str.isdigit, words))
    return Text(number(words), max(1, round((len(words) - digits) / BYTES_PER_TOKEN + digits)))


def _call(
    ask: Ask, program: Program, system: Text, lookups: Mapping[str, Lookup], values: Mapping[str, str]
) -> PlannedCall:
    messages: list[Message] = [_said([system])]
    for _, words in (*ask.before, ("user", ask.text)):
        messages.append(_said(_pieces(words, lookups, values)))
    found = [name for name in ask.inputs if name in lookups]
    before = dict.fromkeys(name for each in found for name in _asks_behind(each, lookups))
    gap_s = max((lookups[name].takes_s for name in found if name in PLACEHOLDER.findall(ask.text)), default=0.0)
    return PlannedCall(
        ask.name,
        tuple(messages),
        ask.max_tokens,
        tuple(before),
        gap_s,
        limit_tokens=ask.max_tokens,
        objective=Objective.LATENCY if ask.name == program.last else None,
    )


def _pieces(words: str, lookups: Mapping[str, Lookup], values: Mapping[str, str]) -> list[Piece]:
    """The texts between placeholders, and what the placeholders stand for."""
    pieces: list[Piece] = []
    for index, part in enumerate(PLACEHOLDER.split(words)):
        if index % 2:
            pieces.append(text(values[part]) if part in lookups else Reply(part))
        elif part:
            pieces.append(text(part))
    return pieces


def _said(pieces: list[Piece]) -> Message:
    """A message: what the template adds is part of its first text. One that is a reply is left as it is."""
    first, *rest = pieces
    if isinstance(first, Text):
        first = Text(first.content, first.tokens + TEMPLATE_TOKENS)
    return (first, *rest)


def _asks_behind(name: str, lookups: Mapping[str, Lookup]) -> Sequence[str]:
    """The calls whose replies a lookup reads, through other lookups too."""
    found: list[str] = []
    for each in lookups[name].inputs:
        found += _asks_behind(each, lookups) if each in lookups else [each]
    return found


def _values(program: Program) -> dict[str, str]:
    """What each step gives; a reply is words at random, so that lookups by them find one thing or another."""
    values: dict[str, str] = {}
    for step in program.steps:
        values[step.name] = _reply(step) if isinstance(step, Ask) else step.find(values)
    return values


def _reply(ask: Ask) -> str:
    return prose(Random(ask.text), max(1, round(ask.max_tokens * WORDS_PER_TOKEN)))
