"""Programs of mixed lengths: their conversations grow, their tools take time, their prompts are shared."""

from __future__ import annotations

import itertools

import pytest

from loadtest.program.graph import Lookup
from loadtest.program.sessions import SESSIONS, TOOL_GAP_S, TURNS, agent, copilot


@pytest.mark.parametrize("name", SESSIONS)
def test_a_seed_decides_texts_and_lengths(name: str) -> None:
    one, same = SESSIONS[name](1), SESSIONS[name](1)
    assert [(ask.text, ask.max_tokens) for ask in one.asks] == [(ask.text, ask.max_tokens) for ask in same.asks]
    assert one.name == name
    texts = {SESSIONS[name](seed).asks[0].text for seed in range(20)}
    assert len(texts) == 20


def test_an_agents_turn_begins_with_all_of_the_turn_before() -> None:
    for seed in range(20):
        program = agent(seed)
        assert TURNS[0] <= len(program.asks) <= TURNS[1]
        for earlier, later in itertools.pairwise(program.asks):
            said = earlier.messages(program.system)
            assert later.messages(program.system)[: len(said)] == said
            assert later.messages(program.system)[len(said)] == ("assistant", f"{{{{{earlier.name}}}}}")
        gaps = [step.takes_s for step in program.steps if isinstance(step, Lookup)]
        assert len(gaps) == len(program.asks) - 1
        assert all(TOOL_GAP_S[0] <= gap <= TOOL_GAP_S[1] for gap in gaps)


def test_agents_are_of_mixed_lengths() -> None:
    assert {len(agent(seed).asks) for seed in range(40)} == set(range(TURNS[0], TURNS[1] + 1))
    assert len({ask.max_tokens for seed in range(40) for ask in agent(seed).asks}) == 4


def test_users_share_a_few_copilots() -> None:
    systems = [copilot(seed).system for seed in range(30)]
    assert len(set(systems)) == 3
    assert all(copilot(seed).is_shared for seed in range(3))
    assert len({agent(seed).system for seed in range(10)}) == 1
