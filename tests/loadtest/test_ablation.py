"""The ablation's tables: what is in them, and that they are the same for the same seeds."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engines.simulated.costs import StepCosts
from engines.simulated.limits import EngineLimits
from gateway.simulation.policies import policy_set
from gateway.simulation.settings import WorldSettings
from gateway.simulation.world import World
from loadtest import ablation
from loadtest.ablation import OFF, Case, Experiment, main
from loadtest.simulation.planned import planned


def rows(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]


FLAGS = ["--loads", "map-reduce", "--rates", "1.2", "--count", "8", "--seeds", "1", "--processes", "1"]


def test_nothing_is_below_the_bound_and_nothing_shown_below_the_best(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(FLAGS) == 0
    nearness, ablated = capsys.readouterr().out.strip().split("\n\n")
    (load, bound, best, _, *shown) = rows(nearness)[2]
    assert load == "map-reduce at 1.2"
    assert 0 < float(bound) <= float(best) <= min(map(float, shown))
    assert [row[0] for row in rows(ablated)[2:]] == list(OFF)

    main(FLAGS)
    assert capsys.readouterr().out.strip().split("\n\n") == [nearness, ablated]


def test_capacity_is_what_a_burst_sustains() -> None:
    two, four = (Experiment(WorldSettings(workers=workers), 20).capacity_per_s("single") for workers in (2, 4))
    assert 1.5 * two < four < 2.5 * two


def test_times_and_bounds_are_of_the_judged_programs() -> None:
    """A flood's single calls are short: with them both would be far below what an agent's tools alone take."""
    experiment = Experiment(WorldSettings(), 8)
    mean_s = experiment.mean_s(Case("session", "flood", 0.5, 0))
    (world, programs) = experiment.world, planned(experiment.arrivals("flood", 0.5, 0), "batch-0")
    outcome = World(world.with_policies(policy_set("session")), programs).run()
    agents_s = [each.time_s for each in outcome.programs if each.name == "agent"]
    assert mean_s == pytest.approx(sum(agents_s) / len(agents_s))
    assert experiment.bound_s("flood", 0.5, 0) > 0.6 * min(agents_s)


def test_engines_that_gain_from_large_batches_are_not_below_the_bound() -> None:
    large = replace(EngineLimits(), max_num_seqs=128, max_num_batched_tokens=2048)
    world = WorldSettings(costs=StepCosts(0.02, 1e-4, 3e-4, 1e-7), limits=large)
    experiment = Experiment(world, 300)
    assert experiment.bound_s("coding", 14.0, 0) < experiment.mean_s(Case("sticky", "coding", 14.0, 0))


@pytest.mark.parametrize(
    "flags",
    [
        ["--loads", "nothing"],
        ["--loads", "agents,pressure"],
        ["--count", "0"],
        ["--rates", "-1"],
        ["--profile", "none"],
    ],
)
def test_flags_that_cannot_be_are_named(flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert ablation.main(flags) == 2
    assert capsys.readouterr().err.startswith("ablation: ")
