"""The order of turns: nobody is always first, seeds of choice and of comparison are apart, loads are whole."""

from __future__ import annotations

from dataclasses import replace

import pytest

from loadtest.comparison.plan import Plan, arrivals, best_peers, compare_turns, expected_s, select_turns
from loadtest.comparison.record import COMPARE, SELECT, Turn
from tests.loadtest.comparison.made import batch

PLAN = Plan(
    loads=("agents", "flood", "pressure"),
    rates=(0.8, 1.2, 4.0),
    ours=("loomgate/gateway", "loomgate/plain"),
    peers=("smg/least_load", "vllm-router/cache_aware", "round_robin"),
    select_seeds=(1, 2),
    compare_seeds=(11, 12),
    count=10,
    finalists=1,
)


def test_every_peer_is_tried_on_every_seed_of_choice() -> None:
    turns = select_turns(PLAN, "agents")
    assert {(turn.system, turn.seed) for turn in turns} == {(peer, seed) for peer in PLAN.peers for seed in (1, 2)}
    assert {(turn.role, turn.rate) for turn in turns} == {(SELECT, 1.2)}
    assert turns[0].system != turns[3].system


def test_every_mode_meets_the_best_peer_on_other_seeds() -> None:
    turns = compare_turns(PLAN, "agents", ["round_robin"])
    assert {turn.system for turn in turns} == {*PLAN.ours, "round_robin"}
    assert {turn.seed for turn in turns}.isdisjoint(PLAN.select_seeds)
    assert len(set(turns)) == len(turns) == 3 * 3 * 2
    assert {turns[at].system for at in range(0, len(turns), 3)} == {*PLAN.ours, "round_robin"}


@pytest.mark.parametrize("along", [0, 1, 2], ids=["loads", "seeds", "rates"])
def test_nobody_is_always_first(along: int) -> None:
    """As a count of a load's rounds would have it: of two systems, one at one rate in every seed and load."""
    plan = replace(PLAN, ours=("loomgate/gateway",), rates=(0.8, 1.2))
    turns = [turn for load in plan.loads for turn in compare_turns(plan, load, ["round_robin"])]
    firsts: dict[object, set[str]] = {}
    for turn in turns[::2]:
        cell = (turn.load, turn.seed, turn.rate)
        firsts.setdefault((*cell[:along], *cell[along + 1 :]), set()).add(turn.system)
    assert all(systems == {"loomgate/gateway", "round_robin"} for systems in firsts.values())


def test_the_best_peer_has_the_least_mean_over_all_seeds() -> None:
    def chosen(peer: str, seed: int, *took_s: float, error: str = "") -> object:
        return batch(Turn(SELECT, "agents", 1.2, seed, peer), took_s, error=error)

    found = [
        chosen("smg/least_load", 1, 1.0, 1.0),
        chosen("smg/least_load", 2, 9.0, 9.0),
        chosen("vllm-router/cache_aware", 1, 2.0, 2.0),
        chosen("vllm-router/cache_aware", 2, 2.0, 2.0),
        chosen("round_robin", 1, 0.1, 0.1, error="broken"),
    ]
    assert best_peers(PLAN, "agents", found) == ["vllm-router/cache_aware"]  # type: ignore[arg-type]
    assert best_peers(replace(PLAN, finalists=2), "agents", found)[1] == "smg/least_load"  # type: ignore[arg-type]


def test_only_the_judged_programs_choose() -> None:
    plan = replace(PLAN, peers=("smg/least_load", "round_robin"))
    agents = [
        batch(Turn(SELECT, "flood", 1.2, 1, peer), [took]) for peer, took in zip(plan.peers, (2, 1), strict=True)
    ]
    flood = [batch(Turn(SELECT, "flood", 1.2, 1, plan.peers[1]), [99.0], program="single")]
    assert best_peers(plan, "flood", [*agents, *flood]) == ["round_robin"]


def test_few_peers_are_all_compared() -> None:
    plan = replace(PLAN, peers=("round_robin",))
    assert select_turns(plan, "agents") == []
    assert best_peers(plan, "agents", []) == ["round_robin"]


def test_pressure_is_so_many_sessions_as_their_contexts_fill_the_cache() -> None:
    turn = Turn(COMPARE, "pressure", 4.0, 11, "round_robin")
    found = arrivals(PLAN, turn, 1.0, 6400.0, 800.0)
    assert len(found) == 32
    assert {start.at_s for start in found} == {0.0}
    assert expected_s(PLAN, turn, 1.0) > expected_s(PLAN, replace(turn, rate=1.0), 1.0)


@pytest.mark.parametrize("rate", [0.5, 0.8, 1.2])
def test_a_turn_is_expected_to_last_until_its_work_is_done(rate: float) -> None:
    turn = Turn(COMPARE, "agents", rate, 11, "round_robin")
    last_s = arrivals(PLAN, turn, 2.0, 0.0, 1.0)[-1].at_s
    assert expected_s(PLAN, turn, 2.0) >= PLAN.count / 2.0
    assert last_s < 3 * expected_s(PLAN, turn, 2.0)
