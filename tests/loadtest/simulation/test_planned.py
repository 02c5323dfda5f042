"""The benchmark's programs as plans: the same graph, the same lengths, the same sharing."""

from __future__ import annotations

from math import inf

import pytest

from gateway.simulation.prompts import Prompt
from gateway.simulation.work import TENANT, PlannedProgram, Reply, Text
from hints.model import Objective
from loadtest.program.graph import Ask, Lookup, filled
from loadtest.program.loads import FLOODER, LOADS, VICTIM, starts
from loadtest.program.sessions import PROGRAMS, agent
from loadtest.program.shapes import rag
from loadtest.simulation.planned import BYTES_PER_TOKEN, NONCE_DIGITS, TEMPLATE_TOKENS, plan, planned


def common_blocks(one: PlannedProgram, other: PlannedProgram) -> int:
    """Blocks of 16 that the last prompt of one has in common with that of another."""
    found = []
    for number, program in enumerate((one, other)):
        replies = {
            call.step: Text(number * 100 + index, call.output_tokens) for index, call in enumerate(program.calls)
        }
        found.append(Prompt(program.calls[-1], replies).blocks(16))
    return next((at for at, (a, b) in enumerate(zip(*found, strict=False)) if a != b), min(map(len, found)))


@pytest.mark.parametrize("name", sorted(PROGRAMS))
def test_a_plan_has_the_programs_calls_and_edges(name: str) -> None:
    program = PROGRAMS[name](3)
    made = plan(program, "s", 1.0, "n")
    asks = {step.name for step in program.steps if isinstance(step, Ask)}
    assert [(call.step, call.output_tokens) for call in made.calls] == [
        (ask.name, ask.max_tokens) for ask in program.asks
    ]
    assert [call.objective for call in made.calls] == [
        Objective.LATENCY if ask.name == program.last else None for ask in program.asks
    ], "as its client says"
    values = dict.fromkeys(asks, "")
    for step in program.steps:
        if isinstance(step, Lookup):
            values[step.name] = step.find(values)
    for ask, call in zip(program.asks, made.calls, strict=True):
        assert {name for name in ask.inputs if name in asks} == set(call.reads)
        told = [filled(text, values) for _, text in ask.messages(program.system)]
        digits = NONCE_DIGITS + sum(map(str.isdigit, "".join(told)))
        words = sum(map(len, told)) + NONCE_DIGITS - digits
        added = TEMPLATE_TOKENS * sum(isinstance(message[0], Text) for message in call.messages)
        said = sum(piece.tokens for message in call.messages for piece in message if isinstance(piece, Text))
        assert said == pytest.approx(words / BYTES_PER_TOKEN + digits + added, rel=0.05)


def test_a_tool_is_a_gap_after_what_it_read() -> None:
    program = agent(1)
    made = plan(program, "s", 0.0, "n")
    gaps = [step.takes_s for step in program.steps if not isinstance(step, Ask)]
    assert [call.gap_s for call in made.calls] == [0.0, *gaps]
    for before, call in zip(made.calls, made.calls[1:], strict=False):
        assert before.step in call.waits_for
        assert (Reply(before.step),) in call.messages


def test_a_shared_system_message_is_the_batchs_and_any_other_the_runs() -> None:
    agents = planned(starts(LOADS["agents"], inf, 0, 2), "batch")
    singles = planned(starts(LOADS["single"], inf, 0, 2), "batch")
    assert common_blocks(*agents) > 5
    assert common_blocks(*singles) == 0
    assert common_blocks(agents[0], planned(starts(LOADS["agents"], inf, 0, 1), "other")[0]) == 0


def test_a_program_is_its_tenants() -> None:
    flood = planned(starts(LOADS["flood"], 1.0, 0, 2))
    assert {(made.name, made.tenant) for made in flood} == {("single", FLOODER), ("agent", VICTIM)}
    assert {made.tenant for made in planned(starts(LOADS["mix"], 1.0, 0, 20))} == {TENANT}


def test_what_is_looked_up_by_a_reply_is_not_always_the_same() -> None:
    kinds = set()
    for seed in range(8):
        made = plan(rag(seed), "s", 0.0, "n")
        read = [call.messages[-1] for call in made.calls if call.step.startswith("answer")]
        kinds.add(len(set(read)))
    assert max(kinds) > 1
