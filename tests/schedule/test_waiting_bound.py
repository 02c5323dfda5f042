"""Order on one worker: plain FCFS without hints, and a stated bound on being passed with them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.nouns import Chain, ReadyCall, Standing
from gateway.schedule.core import Scheduler
from gateway.schedule.events import Arrived, Dispatch, Finished, WorkerUp
from gateway.schedule.policies.order import ORDERS
from gateway.schedule.settings import SchedulerSettings
from hints.model import Objective

gaps_s = st.floats(0, 3, allow_nan=False)
outputs = st.integers(1, 200)
plain_calls = st.lists(st.tuples(gaps_s, outputs), min_size=1, max_size=30)
hinted_calls = st.lists(
    st.tuples(
        gaps_s,
        st.sampled_from([None, "p0", "p1"]),
        st.sampled_from([None, *Objective]),
        st.integers(-20, 20),
        st.none() | st.floats(-50, 200, allow_nan=False),
        st.integers(0, 2),
        st.none() | st.builds(Standing, depth=st.integers(0, 9), group_size=st.integers(1, 9)),
        st.none() | st.floats(0, 500),
        st.integers(0, 50),
    ),
    min_size=1,
    max_size=40,
)


def drain(scheduler: Scheduler, calls: list[ReadyCall], service_s: float) -> dict[str, float]:
    """Let the calls arrive while one worker serves them; when each was dispatched, in that order."""
    order: dict[str, float] = {}
    running: list[tuple[float, str]] = []

    def step(event: Arrived | Finished, now_s: float) -> None:
        for effect in scheduler.on(event, now_s):
            assert isinstance(effect, Dispatch)
            order[effect.call_id] = now_s
            running.append((now_s + service_s, effect.call_id))
        scheduler.integrity()

    for call in calls:
        while running and running[0][0] <= call.arrived_s:
            ends_s, name = running.pop(0)
            step(Finished(name), ends_s)
        step(Arrived(call), call.arrived_s)
    while running:
        ends_s, name = running.pop(0)
        step(Finished(name), ends_s)
    return order


@given(calls=plain_calls, order=st.sampled_from(sorted(ORDERS)), limit=st.integers(1, 3))
def test_without_hints_one_worker_serves_in_order_of_arrival(calls, order, limit):
    scheduler = Scheduler(SchedulerSettings(order=order, max_calls_per_worker=limit, default_kv_tokens=400))
    scheduler.on(WorkerUp("w0", ("m",)), 0.0)
    now_s, made = 0.0, []
    for number, (gap_s, output) in enumerate(calls):
        now_s += gap_s
        made.append(ReadyCall(f"c{number}", "t", "m", now_s, 10, output))
    assert list(drain(scheduler, made, 2.0)) == [call.call_id for call in made]


@given(
    calls=hinted_calls,
    order=st.sampled_from(sorted(set(ORDERS) - {"fcfs"})),
    group=st.sampled_from(["none", "prefix"]),
)
def test_nobody_is_passed_by_a_call_that_arrived_after_the_bound(calls, order, group):
    settings = SchedulerSettings(
        order=order,
        group=group,
        max_calls_per_worker=2,
        max_delay_s=8.0,
        max_lead_s=4.0,
        group_window_s=1.0,
        group_min_tokens=10,
    )
    scheduler = Scheduler(settings)
    scheduler.on(WorkerUp("w0", ("m",)), 0.0)
    now_s, made = 0.0, []
    for number, spec in enumerate(calls):
        gap_s, program, objective, priority, deadline_s, family, standing, left_s, left_calls = spec
        now_s += gap_s
        chain = Chain((family,), (50,), (family,)) if family else Chain()
        made.append(
            ReadyCall(
                f"c{number}",
                "t",
                "m",
                now_s,
                60,
                10,
                chain=chain,
                program=program,
                objective=objective,
                deadline_s=deadline_s,
                priority=priority,
                standing=standing,
                left_s=left_s,
                left_calls=left_calls,
            )
        )
    bound_s = ORDERS[order](settings).spread_s + settings.group_window_s
    arrived_s = {call.call_id: call.arrived_s for call in made}
    started_s = drain(scheduler, made, 3.0)
    order = list(started_s)
    assert sorted(order) == sorted(arrived_s)
    for place, name in enumerate(order):
        latest_s = max((arrived_s[earlier] for earlier in order[:place]), default=0.0)
        assert latest_s <= arrived_s[name] + bound_s
        before = sum(at_s <= arrived_s[name] + bound_s for at_s in arrived_s.values())
        assert started_s[name] <= arrived_s[name] + 3.0 * before, "all that may ever go before it, one by one"
