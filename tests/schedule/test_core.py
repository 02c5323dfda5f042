"""Placing, queueing, retrying and refusing, event by event."""

from __future__ import annotations

import pytest

from gateway.estimate.rates import ServiceSample
from gateway.nouns import NO_CHAIN, Chain, ReadyCall, Usage
from gateway.schedule.core import Scheduler
from gateway.schedule.events import (
    Arrived,
    Cancelled,
    Dispatch,
    Effect,
    Failed,
    FillEnded,
    Finished,
    FirstByte,
    LoadRead,
    PlacementLearned,
    Probed,
    ProbeWanted,
    Refusal,
    Reject,
    SessionEnded,
    ShareGranted,
    Tick,
    WorkerDown,
    WorkerRemoved,
    WorkerUp,
    probe_id,
)
from gateway.schedule.settings import SchedulerSettings
from hints.model import Objective


def core(*workers: str, models: tuple[str, ...] = ("m",), **changes: object) -> Scheduler:
    scheduler = Scheduler(SchedulerSettings(**changes))  # type: ignore[arg-type]
    for name in workers:
        scheduler.on(WorkerUp(name, models), 0.0)
    return scheduler


def call(
    name: str,
    at_s: float = 0.0,
    *,
    tokens: int = 100,
    output: int = 100,
    chain: Chain = NO_CHAIN,
    program: str | None = None,
    tenant: str = "t",
    model: str = "m",
    grace_s: float | None = None,
) -> Arrived:
    ready = ReadyCall(name, tenant, model, at_s, tokens, output, chain=chain, program=program, grace_s=grace_s)
    return Arrived(ready)


def chain_of(*hashes: int, tokens: int = 500) -> Chain:
    return Chain(hashes, tuple(tokens * (depth + 1) for depth in range(len(hashes))), hashes)


def sent(effects: list[Effect]) -> list[tuple[str, str]]:
    return [(effect.call_id, effect.worker) for effect in effects if isinstance(effect, Dispatch)]


def test_an_uncontended_call_is_dispatched_in_its_own_arrival():
    scheduler = core("w0")
    assert scheduler.on(call("c", 5.0), 5.0) == [Dispatch("c", "w0", 1, "only", 5000, 0)]
    scheduler.on(FirstByte("c"), 5.1)
    assert scheduler.on(Finished("c", Usage(100, 100)), 7.0) == []
    assert scheduler.snapshot(7.0).in_flight == 0


def test_a_model_nobody_serves_is_refused():
    assert core("w0").on(call("c", model="other"), 0.0) == [Reject("c", Refusal.UNKNOWN_MODEL)]


def test_calls_wait_out_the_grace_while_all_workers_are_down():
    scheduler = core("w0", no_worker_grace_s=10.0)
    scheduler.on(WorkerDown("w0"), 1.0)
    assert scheduler.on(call("c", 2.0), 2.0) == []
    assert scheduler.on(Tick(), 11.9) == []
    assert scheduler.on(Tick(), 12.0) == [Reject("c", Refusal.NO_WORKER)]


def test_a_call_may_have_more_grace_than_others():
    scheduler = core("w0", no_worker_grace_s=10.0)
    scheduler.on(WorkerDown("w0"), 1.0)
    scheduler.on(call("patient", 2.0, grace_s=100.0), 2.0)
    scheduler.on(call("c", 3.0), 3.0)
    assert scheduler.on(Tick(), 13.0) == [Reject("c", Refusal.NO_WORKER)]
    assert sent(scheduler.on(WorkerUp("w0", ("m",)), 101.0)) == [("patient", "w0")]


def test_calls_that_were_queued_when_the_last_worker_went_down_have_the_same_grace():
    scheduler = core("w0", max_calls_per_worker=1)
    scheduler.on(call("running"), 0.0)
    scheduler.on(call("waiting"), 0.0)
    scheduler.on(WorkerDown("w0"), 5.0)
    assert scheduler.on(Finished("running"), 6.0) == []
    assert scheduler.on(Tick(), 15.0) == [Reject("waiting", Refusal.NO_WORKER)]


def test_a_worker_that_comes_back_within_the_grace_takes_what_waits():
    scheduler = core("w0")
    scheduler.on(WorkerDown("w0"), 1.0)
    scheduler.on(call("c", 2.0), 2.0)
    assert sent(scheduler.on(WorkerUp("w0", ("m",)), 5.0)) == [("c", "w0")]


def test_a_model_is_unknown_again_once_its_last_worker_is_removed():
    scheduler = core("w0")
    scheduler.on(WorkerRemoved("w0"), 1.0)
    assert scheduler.on(call("c"), 1.0) == [Reject("c", Refusal.UNKNOWN_MODEL)]


def test_a_worker_may_change_what_it_serves():
    scheduler = core("w0", max_calls_per_worker=1)
    scheduler.on(call("running"), 0.0)
    scheduler.on(call("waiting"), 0.0)
    scheduler.on(WorkerUp("w0", ("other",)), 1.0)
    assert sent(scheduler.on(call("new", model="other"), 1.0)) == []
    assert sent(scheduler.on(Finished("running"), 2.0)) == [("new", "w0")]
    assert scheduler.on(Tick(), 12.0) == [Reject("waiting", Refusal.NO_WORKER)]
    assert scheduler.on(call("late"), 12.0) == [Reject("late", Refusal.UNKNOWN_MODEL)]


def test_a_full_queue_refuses_its_tenant_alone_and_says_when_to_retry():
    scheduler = core("w0", max_calls_per_worker=1, max_queue_per_tenant=2)
    for name in ("running", "first", "second"):
        scheduler.on(call(name), 0.0)
    (refused,) = scheduler.on(call("third"), 0.0)
    assert isinstance(refused, Reject)
    assert refused.reason is Refusal.QUEUE_FULL
    assert 1.0 <= (refused.retry_after_s or 0.0) <= 60.0
    assert scheduler.on(call("other", tenant="u"), 0.0) == []
    scheduler.integrity()


def test_retry_after_follows_the_drain_rate():
    scheduler = core("w0", max_calls_per_worker=1, max_queue_per_tenant=10)
    for number in range(11):
        scheduler.on(call(f"c{number}"), 0.0)
    for number in range(8):
        scheduler.on(Finished(f"c{number}"), 4.0 * (number + 1))
        scheduler.on(call(f"d{number}", 4.0), 4.0 * (number + 1))
    (refused,) = scheduler.on(call("over", 33.0), 33.0)
    assert isinstance(refused, Reject)
    assert 10.0 < (refused.retry_after_s or 0.0) <= 40.0


def test_tokens_in_flight_stay_within_the_budget_but_an_idle_worker_takes_any_call():
    scheduler = core("w0", default_kv_tokens=500)
    assert sent(scheduler.on(call("huge", tokens=5000), 0.0)) == [("huge", "w0")]
    assert scheduler.on(call("small"), 0.0) == []
    assert sent(scheduler.on(Finished("huge"), 1.0)) == [("small", "w0")]
    assert sent(scheduler.on(call("fits", tokens=100, output=200), 1.0)) == [("fits", "w0")]
    assert scheduler.on(call("over", tokens=1, output=1), 1.0) == []


def test_a_share_shrinks_both_limits_and_a_larger_one_lets_calls_go():
    scheduler = core("w0", max_calls_per_worker=4)
    scheduler.on(ShareGranted("w0", 0.5), 0.0)
    dispatched = [sent(scheduler.on(call(name), 0.0)) for name in "abcd"]
    assert dispatched == [[("a", "w0")], [("b", "w0")], [], []]
    assert sent(scheduler.on(ShareGranted("w0", 1.0), 1.0)) == [("c", "w0"), ("d", "w0")]


def test_calls_without_reuse_go_to_the_least_loaded_worker():
    scheduler = core("w0", "w1", "w2")
    used = [sent(scheduler.on(call(name), 0.0))[0][1] for name in "abcdef"]
    assert sorted(used[:3]) == sorted(used[3:]) == ["w0", "w1", "w2"]


def test_the_load_of_others_counts():
    scheduler = core("w0", "w1")
    scheduler.on(LoadRead("w0", running=20, waiting=2), 0.0)
    assert {sent(scheduler.on(call(name), 0.0))[0][1] for name in "abc"} == {"w1"}
    for second in range(12):
        scheduler.on(Tick(), float(second))
    assert sent(scheduler.on(call("d", 12.0), 12.0)) == [("d", "w0")]


def test_the_calls_of_a_probe_are_nobody_elses():
    scheduler = core("w0", "w1")
    scheduler.on(ProbeWanted("w0"), 0.0)
    scheduler.on(LoadRead("w0", running=8, waiting=0), 0.0)
    scheduler.on(FillEnded(probe_id("w0"), "w0", filled=False), 1.0)
    scheduler.on(LoadRead("w1", running=1, waiting=0), 1.0)
    assert sent(scheduler.on(call("a", 1.0), 1.0)) == [("a", "w0")]


def test_a_prefix_is_followed_and_says_so():
    scheduler = core("w0", "w1")
    (first,) = scheduler.on(call("a", tokens=1000, chain=chain_of(1, 2)), 0.0)
    scheduler.on(Finished("a"), 1.0)
    assert isinstance(first, Dispatch)
    (second,) = scheduler.on(call("b", 1.0, tokens=1200, chain=chain_of(1, 2, 3)), 1.0)
    assert second == Dispatch("b", first.worker, 1, "prefix", 1000, 1000)


def test_a_session_stays_until_leaving_pays_more_than_the_margin():
    scheduler = core("w0", "w1", max_calls_per_worker=64, decode_interference=0.03)
    scheduler.on(PlacementLearned("p", "w1"), 0.0)
    (placed,) = scheduler.on(call("a", program="p"), 0.0)
    assert isinstance(placed, Dispatch)
    assert (placed.worker, placed.why) == ("w1", "session")
    scheduler.on(Finished("a"), 0.0)
    scheduler.on(LoadRead("w1", running=1, waiting=0), 0.0)
    assert sent(scheduler.on(call("b", program="p"), 0.0)) == [("b", "w1")]
    scheduler.on(Finished("b"), 0.0)
    scheduler.on(LoadRead("w1", running=60, waiting=0), 0.0)
    assert sent(scheduler.on(call("c", program="p"), 0.0)) == [("c", "w0")]
    assert scheduler.placement("p") == "w0"
    scheduler.on(SessionEnded("p"), 1.0)
    assert scheduler.placement("p") is None


def test_a_session_leaves_a_worker_that_is_down():
    scheduler = core("w0", "w1")
    scheduler.on(PlacementLearned("p", "w1"), 0.0)
    scheduler.on(WorkerDown("w1"), 0.0)
    assert sent(scheduler.on(call("a", program="p"), 0.0)) == [("a", "w0")]


def test_a_call_waits_for_the_worker_that_holds_its_prefix_but_not_for_ever():
    scheduler = core("w0", max_calls_per_worker=1)
    long_prefix = chain_of(1, tokens=19_000)
    scheduler.on(call("a", tokens=20_000, chain=long_prefix), 0.0)
    scheduler.on(Finished("a"), 1.0)
    scheduler.on(call("running"), 1.0)
    scheduler.on(WorkerUp("w1", ("m",)), 1.0)
    assert scheduler.on(call("b", 1.0, tokens=20_000, output=10, chain=long_prefix), 1.0) == []
    assert [worker.queued for worker in scheduler.snapshot(1.0).workers] == [1, 0]
    assert scheduler.on(Tick(), 6.0) == []
    assert sent(scheduler.on(Tick(), 30.0)) == [("b", "w1")]


def test_a_worker_with_room_takes_what_would_end_sooner_on_it():
    scheduler = core("w0", "w1", max_calls_per_worker=1, order="fcfs")
    scheduler.on(WorkerDown("w1"), 0.0)
    scheduler.on(call("a", tokens=1000, output=300, chain=chain_of(1, tokens=900)), 0.0)
    scheduler.on(WorkerUp("w1", ("m",)), 0.0)
    scheduler.on(call("b", tokens=1000, output=1000), 0.0)
    waiting = [call(f"c{number}", tokens=1000, output=10, chain=chain_of(1, tokens=900)) for number in range(4)]
    for arrival in waiting:
        assert scheduler.on(arrival, 0.0) == []
    queued = {worker.name: worker.queued for worker in scheduler.snapshot(0.0).workers}
    assert queued["w0"] > 0
    (taken,) = scheduler.on(Finished("b"), 1.0)
    assert isinstance(taken, Dispatch)
    assert (taken.worker, taken.why) == ("w1", "load")


def test_a_retry_goes_elsewhere_and_keeps_its_rank():
    scheduler = core("w0", "w1", max_calls_per_worker=1)
    ((_, first),) = sent(scheduler.on(call("a"), 0.0))
    scheduler.on(call("b", 1.0), 1.0)
    scheduler.on(call("c", 2.0), 2.0)
    effects = scheduler.on(Failed("a", retry=True), 3.0)
    assert sent(effects) == [("c", first)]
    other = {"w0": "w1", "w1": "w0"}[first]
    (again,) = scheduler.on(Finished("b"), 4.0)
    assert again == Dispatch("a", other, 2, again.why, 0, 0)  # type: ignore[union-attr]


def test_three_attempts_are_the_last():
    scheduler = core("w0", "w1", "w2", "w3")
    scheduler.on(call("a"), 0.0)
    second = scheduler.on(Failed("a", retry=True), 1.0)
    third = scheduler.on(Failed("a", retry=True), 2.0)
    assert [effect.attempt for effect in second + third if isinstance(effect, Dispatch)] == [2, 3]
    assert scheduler.on(Failed("a", retry=True), 3.0) == [Reject("a", Refusal.NO_WORKER)]


def test_a_call_that_failed_on_every_worker_waits_for_one_to_come_back():
    scheduler = core("w0")
    scheduler.on(call("a"), 0.0)
    assert scheduler.on(Failed("a", retry=True), 1.0) == []
    scheduler.on(WorkerDown("w0"), 1.0)
    assert sent(scheduler.on(WorkerUp("w0", ("m",)), 3.0)) == [("a", "w0")]


def test_a_call_may_go_back_to_a_worker_that_came_back_while_it_was_tried_elsewhere():
    scheduler = core("w0", "w1", place="round_robin")
    ((_, first),) = sent(scheduler.on(call("a"), 0.0))
    ((_, second),) = sent(scheduler.on(Failed("a", retry=True), 1.0))
    assert first != second
    scheduler.on(WorkerDown(first), 1.0)
    scheduler.on(WorkerUp(first, ("m",)), 2.0)
    assert sent(scheduler.on(Failed("a", retry=True), 3.0)) == [("a", first)]


def test_calls_that_wait_for_a_worker_go_elsewhere_when_it_goes_down():
    scheduler = core("w0", "w1", max_calls_per_worker=1, place="round_robin")
    for name in "abcd":
        scheduler.on(call(name), 0.0)
    scheduler.on(WorkerDown("w0"), 1.0)
    assert sent(scheduler.on(Finished("a"), 2.0)) == []
    assert sent(scheduler.on(Finished("b"), 2.0)) == [("c", "w1")]
    assert sent(scheduler.on(Finished("c"), 3.0)) == [("d", "w1")]


@pytest.mark.parametrize("event", [FirstByte("x"), Finished("x"), Failed("x", True), Cancelled("x")])
def test_events_of_unknown_calls_change_nothing(event):
    scheduler = core("w0")
    scheduler.on(call("a"), 0.0)
    assert scheduler.on(event, 1.0) == []
    assert scheduler.snapshot(1.0).in_flight == 1


@pytest.mark.parametrize(
    "event", [WorkerDown("x"), WorkerRemoved("x"), LoadRead("x", 1, 0), ShareGranted("x", 0.5)]
)
def test_events_of_unknown_workers_change_nothing(event):
    scheduler = core("w0")
    before = scheduler.snapshot(0.0)
    assert scheduler.on(event, 0.0) == []
    assert scheduler.snapshot(0.0) == before


def test_cancelling_what_blocks_the_queue_lets_the_next_go():
    scheduler = core("w0", default_kv_tokens=1000)
    scheduler.on(call("running", tokens=500), 0.0)
    scheduler.on(call("big", 1.0, tokens=900), 1.0)
    assert scheduler.on(call("small", 2.0), 2.0) == []
    assert sent(scheduler.on(Cancelled("big"), 3.0)) == [("small", "w0")]


@pytest.mark.parametrize(("service_s", "first", "second"), [(20.0, "c", "d"), (50.0, "d", "c")])
def test_programs_that_had_much_service_go_later(service_s, first, second):
    scheduler = core("w0", max_calls_per_worker=1, program_grace_s=30.0)
    scheduler.on(call("a", 0.0, program="long"), 0.0)
    scheduler.on(Finished("a"), service_s)
    scheduler.on(call("b", service_s), service_s)
    scheduler.on(call("c", service_s + 1.0, program="long"), service_s + 1.0)
    scheduler.on(call("d", service_s + 2.0, program="new"), service_s + 2.0)
    assert sent(scheduler.on(Finished("b"), service_s + 3.0)) == [(first, "w0")]
    assert sent(scheduler.on(Finished(first), service_s + 4.0)) == [(second, "w0")]


def test_a_refused_call_has_computed_nothing():
    scheduler = core("w0")
    scheduler.on(call("long", tokens=60_000), 0.0)
    scheduler.on(call("bad"), 0.0)
    backlog = scheduler._board.workers["w0"].backlog
    waiting_tokens = backlog.waiting_tokens
    scheduler.on(Finished("bad", None), 0.0)
    assert backlog.waiting_tokens == waiting_tokens - 100
    scheduler.on(Finished("long", Usage(60_000, 100)), 0.0)
    assert backlog.waiting_tokens == 0


def test_a_worker_that_was_removed_is_not_learned_of():
    scheduler = core("w0", "w1")
    ((_, worker),) = sent(scheduler.on(call("a"), 0.0))
    scheduler.on(WorkerRemoved(worker), 1.0)
    scheduler.on(Finished("a", Usage(100, 100)), 2.0)
    scheduler.on(Probed(worker, ServiceSample(100, 0, 10, 0.1, 0.2)), 3.0)
    assert worker not in scheduler.service.workers()


def test_a_latency_call_that_left_is_forgotten_though_nothing_waits():
    scheduler = core("w0", latency_linger_s=0.5)
    scheduler.on(Arrived(ReadyCall("a", "t", "m", 0.0, 10, 10, objective=Objective.LATENCY)), 0.0)
    scheduler.on(Finished("a", Usage(10, 10)), 1.0)
    worker = scheduler._board.workers["w0"]
    scheduler.on(Tick(), 1.4)
    assert worker.is_near_latency()
    scheduler.on(Tick(), 1.6)
    assert not worker.is_near_latency()


def test_a_prefix_group_goes_together_within_the_window():
    scheduler = core("w0", order="fcfs", group_window_s=1.0, default_kv_tokens=10_000)
    scheduler.on(call("all", tokens=10_000), 0.0)
    shared = chain_of(7, tokens=500)
    scheduler.on(call("a", 1.0, tokens=600, chain=shared), 1.0)
    scheduler.on(call("lone", 1.1), 1.1)
    scheduler.on(call("b", 1.5, tokens=600, chain=shared), 1.5)
    scheduler.on(call("late", 3.0, tokens=600, chain=shared), 3.0)
    assert [name for name, _ in sent(scheduler.on(Finished("all"), 5.0))] == ["a", "b", "lone", "late"]


def test_the_snapshot_counts_what_waits_and_runs():
    scheduler = core("w0", max_calls_per_worker=1)
    scheduler.on(call("a", tokens=70, output=30), 0.0)
    scheduler.on(call("b", 2.0, tenant="u"), 2.0)
    snapshot = scheduler.snapshot(5.0)
    assert (snapshot.in_flight, snapshot.queued) == (1, 1)
    assert snapshot.queued_by_tenant == {"u": 1}
    assert snapshot.queued_by_model == {"m": 1}
    assert snapshot.oldest_queued_age_s == 3.0
    assert (snapshot.workers[0].calls, snapshot.workers[0].tokens) == (1, 100)
