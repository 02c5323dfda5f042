from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.nouns import ReadyCall, Standing
from gateway.schedule.policies.order.fcfs import Fcfs
from gateway.schedule.policies.order.least_slack import LeastSlack
from gateway.schedule.policies.order.program_graph import ProgramGraph
from gateway.schedule.policies.order.program_service import ProgramService
from gateway.schedule.policies.order.shortest_remaining import ShortestRemaining
from gateway.schedule.policies.order.task_groups import TaskGroups
from gateway.schedule.settings import SchedulerSettings
from hints.model import Objective

SETTINGS = SchedulerSettings(
    service_quantum_s=1.0,
    service_weight=1.0,
    throughput_offset_s=20.0,
    priority_step_s=5.0,
    max_delay_s=60.0,
    max_lead_s=30.0,
    latency_lead_s=10.0,
    program_lead_s=15.0,
    remaining_weight=1.0,
)
CALL = ReadyCall("c", "t", "m", 100.0, 10, 10)


def test_fcfs_ranks_by_arrival_alone():
    hinted = replace(CALL, objective=Objective.THROUGHPUT, priority=3, deadline_s=0.0)
    assert Fcfs(SETTINGS).rank_s(hinted, 50.0, 1.0) == 100.0


@pytest.mark.parametrize(
    ("attained_s", "offset_s"),
    [(0.0, 0.0), (0.9, 0.0), (1.0, 1.0), (1.9, 1.0), (2.0, 2.0), (9.0, 8.0), (1e6, 60.0)],
)
def test_service_demotes_by_bins_that_double(attained_s, offset_s):
    assert ProgramService(SETTINGS).rank_s(CALL, attained_s, 0.0) == 100.0 + offset_s


def test_objective_and_urgency_move_the_rank():
    order = ProgramService(SETTINGS)
    assert order.rank_s(replace(CALL, objective=Objective.THROUGHPUT), 0.0, 0.0) == 120.0
    assert order.rank_s(replace(CALL, objective=Objective.LATENCY), 0.0, 0.0) == 100.0
    assert order.rank_s(replace(CALL, priority=2), 0.0, 0.0) == 90.0
    assert order.rank_s(replace(CALL, priority=-2), 0.0, 0.0) == 110.0


def test_a_deadline_leaves_time_for_the_service_and_never_delays():
    order = ProgramService(SETTINGS)
    assert order.rank_s(replace(CALL, deadline_s=105.0), 0.0, 15.0) == 90.0
    assert order.rank_s(replace(CALL, deadline_s=500.0), 0.0, 15.0) == 100.0
    assert order.rank_s(replace(CALL, deadline_s=100.0), 0.0, 1e9) == 70.0


def test_of_a_known_program_a_call_ranks_from_its_begin_not_longer_than_the_lead():
    order = ProgramGraph(SETTINGS)
    standing = Standing(depth=1)
    assert order.rank_s(replace(CALL, standing=standing, began_s=91.0), 0.0, 0.0) == 91.0
    assert order.rank_s(replace(CALL, standing=standing, began_s=3.0), 0.0, 0.0) == 85.0
    assert order.rank_s(replace(CALL, began_s=91.0), 0.0, 0.0) == 100.0


def test_the_first_service_of_a_known_program_is_not_held_against_it():
    order = ProgramGraph(SETTINGS)
    known = replace(CALL, standing=Standing(), began_s=100.0)
    assert [order.rank_s(known, attained_s, 0.0) for attained_s in (29.0, 31.0, 38.0)] == [100.0, 101.0, 108.0]


def test_latency_goes_before_what_nobody_labelled_and_that_before_throughput():
    ranks = [
        ProgramGraph(SETTINGS).rank_s(replace(CALL, objective=objective), 0.0, 0.0)
        for objective in (Objective.LATENCY, None, Objective.THROUGHPUT)
    ]
    assert ranks == [90.0, 100.0, 120.0]


standings = st.builds(Standing, depth=st.integers(0, 256), group_size=st.integers(1, 10_000))


@given(one=standings, other=standings)
def test_within_a_program_the_deepest_goes_first_then_the_smallest_group(one, other):
    order = ProgramGraph(SETTINGS)
    first, second = (order.within(replace(CALL, standing=each)) for each in (one, other))
    assert (first < second) == ((-one.depth, one.group_size) < (-other.depth, other.group_size))


@given(attained_s=st.floats(0, 1e9), priority=st.integers(-9, 9), deadline_s=st.none() | st.floats(-1e9, 1e9))
def test_without_a_standing_and_a_class_a_program_only_has_its_grace(attained_s, priority, deadline_s):
    call = replace(CALL, priority=priority, deadline_s=deadline_s)
    plain = ProgramService(SETTINGS).rank_s(call, max(0.0, attained_s - SETTINGS.program_grace_s), 1.0)
    assert ProgramGraph(SETTINGS).rank_s(call, attained_s, 1.0) == plain
    assert ProgramGraph(SETTINGS).within(call) == 0.0


@given(
    attained_s=st.floats(0, 1e9),
    service_s=st.floats(0, 1e9),
    priority=st.integers(-(10**6), 10**6),
    deadline_s=st.none() | st.floats(-1e9, 1e9),
    objective=st.sampled_from([None, *Objective]),
    standing=st.none() | standings,
    began_s=st.floats(-1e9, 1e9),
    policy=st.sampled_from([ProgramService, ProgramGraph]),
)
def test_the_offset_is_bounded(attained_s, service_s, priority, deadline_s, objective, standing, began_s, policy):
    order = policy(SETTINGS)
    call = replace(
        CALL, priority=priority, deadline_s=deadline_s, objective=objective, standing=standing, began_s=began_s
    )
    rank_s = order.rank_s(call, attained_s, service_s)
    assert -SETTINGS.max_lead_s <= rank_s - call.arrived_s <= SETTINGS.max_delay_s
    assert order.spread_s == SETTINGS.max_lead_s + SETTINGS.max_delay_s


def test_what_ends_soonest_goes_first_where_profile_or_graph_tells():
    order = ShortestRemaining(SETTINGS)
    assert order.rank_s(replace(CALL, left_s=7.0), 50.0, 2.0) == 107.0, "the profile beats the service attained"
    assert order.rank_s(replace(CALL, left_s=7.0, left_calls=9), 0.0, 2.0) == 118.0, "and the graph the profile"
    assert order.rank_s(replace(CALL, left_calls=4), 50.0, 2.0) == 108.0, "four calls of two seconds"
    assert order.rank_s(CALL, 70.0, 2.0) == ProgramGraph(SETTINGS).rank_s(CALL, 70.0, 2.0) == 132.0
    assert order.rank_s(replace(CALL, left_s=1e6), 0.0, 2.0) == 160.0, "and no later than any call may"


def test_slack_counts_the_whole_path_and_classes_have_deadlines_of_their_own():
    order = LeastSlack(SchedulerSettings(class_slack_s=20.0))
    deep = replace(CALL, standing=Standing(depth=3))
    assert order.rank_s(replace(CALL, deadline_s=140.0), 0.0, 2.0) == 138.0
    assert order.rank_s(replace(deep, deadline_s=140.0), 0.0, 2.0) == 132.0
    assert order.rank_s(replace(deep, deadline_s=140.0, left_s=30.0), 0.0, 2.0) == 110.0
    by_class = [order.rank_s(replace(CALL, objective=each), 0.0, 0.0) for each in (Objective.LATENCY, None)]
    assert by_class == [105.0, 120.0]
    assert order.rank_s(replace(CALL, objective=Objective.THROUGHPUT), 0.0, 0.0) == 160.0, "80 s, and the bound"
    assert order.rank_s(replace(CALL, deadline_s=1.0), 0.0, 2.0) == 70.0


def test_the_group_with_the_least_to_do_unblocks_its_consumer_soonest():
    order = TaskGroups(SETTINGS)
    few, many = (replace(CALL, standing=Standing(group="g", group_size=size)) for size in (2, 9))
    assert [order.rank_s(call, 0.0, 1.5) - 100.0 for call in (few, many)] == [-15.0 + 3.0, -15.0 + 13.5]
    assert order.rank_s(CALL, 4.0, 1.5) == ProgramGraph(SETTINGS).rank_s(CALL, 4.0, 1.5)
