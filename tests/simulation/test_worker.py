"""A worker in virtual time: requests that come in the middle of a leap wait for the step that is under way."""

from __future__ import annotations

from engines.simulated.costs import StepCosts
from engines.simulated.iteration import IterationModel
from engines.simulated.limits import EngineLimits
from engines.simulated.request import EngineRequest
from gateway.simulation.worker import VirtualWorker

COSTS = StepCosts(1.0, 0.0, 0.0, 0.0)


def worker() -> VirtualWorker:
    return VirtualWorker("w", IterationModel(EngineLimits(), COSTS))


def test_a_lone_request_is_two_wakes() -> None:
    one = worker()
    one.add(EngineRequest("a", 100, 50), 10.0)
    assert one.wakes_s == 11.0
    assert [request.name for request in one.wake(11.0).advanced] == ["a"]
    assert one.wakes_s == 60.0
    assert [request.name for request in one.wake(60.0).finished] == ["a"]
    assert (one.wakes_s, one.busy_s) == (None, 50.0)


def test_a_leap_is_cut_at_the_end_of_the_step_under_way() -> None:
    one = worker()
    one.add(EngineRequest("a", 100, 50), 0.0)
    one.wake(1.0)
    one.add(EngineRequest("b", 100, 5), 4.5)
    assert one.wakes_s == 5.0
    assert [each.name for each in one.wake(5.0).advanced] == ["a"]
    assert one.wakes_s == 6.0
    assert [each.name for each in one.wake(6.0).advanced] == ["a", "b"]
    assert one.wakes_s == 10.0
    assert [each.name for each in one.wake(10.0).finished] == ["b"]
    assert one.wakes_s == 50.0


def test_what_comes_just_as_a_step_ends_waits_for_no_other() -> None:
    one = worker()
    one.add(EngineRequest("a", 100, 50), 0.0)
    one.wake(1.0)
    one.add(EngineRequest("b", 100, 5), 4.0)
    assert one.wakes_s == 4.0
    one.wake(4.0)
    assert [each.name for each in one.wake(5.0).advanced] == ["a", "b"]
