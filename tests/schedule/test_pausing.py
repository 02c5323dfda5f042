"""Where calls wait for their programs' turn: who holds up whom, who goes elsewhere, and who goes along."""

from __future__ import annotations

from msgspec.structs import replace

from gateway.nouns import Chain
from gateway.schedule.core import Scheduler
from gateway.schedule.events import (
    Arrived,
    Dispatch,
    Finished,
    PlacementLearned,
    SessionEnded,
    Tick,
)
from tests.schedule.turns import BUSY, busy, call, core, sent


def both_busy(prefix_tokens: int) -> Scheduler:
    """Programs a and b keep others waiting on w0 and w1, each with a prefix of its own."""
    scheduler = core(workers=2)
    for program, worker in (("a", "w0"), ("b", "w1")):
        scheduler.on(PlacementLearned(program, worker), 0.0)
        for number in range(BUSY):
            sharing = beginning_with(program, prefix_tokens, call(f"{program}{number}", program))
            assert sent(scheduler, sharing) == [f"{program}{number}"]
    return scheduler


def beginning_with(prefix: str, tokens: int, arrived: Arrived) -> Arrived:
    chain = Chain((ord(prefix),), (tokens,))
    return Arrived(replace(arrived.call, prompt_tokens=tokens + 10, chain=chain))


def test_who_waits_for_the_worker_that_has_its_prefix_holds_up_nobody_elsewhere():
    scheduler = both_busy(20_000)
    assert sent(scheduler, beginning_with("a", 20_000, call("first", "c"))) == []
    assert sent(scheduler, beginning_with("b", 20_000, call("second", "d"))) == []
    assert sent(scheduler, Finished("b0")) == ["second"]
    assert sent(scheduler, Finished("a0")) == ["first"]


def test_a_program_begins_elsewhere_where_that_takes_less_than_to_wait_for_its_turn():
    scheduler = both_busy(300)
    for number in range(6):
        assert sent(scheduler, beginning_with("a", 300, call(f"c{number}", f"c{number}"))) == []
    assert sent(scheduler, Finished("b0")) == []
    (effect,) = scheduler.on(Tick(), 0.1)
    assert isinstance(effect, Dispatch)
    assert (effect.call_id, effect.worker, effect.why) == ("c0", "w1", "load")


def test_where_there_is_no_room_nobody_begins_though_it_has_its_turn_there():
    scheduler = core(workers=2)
    flying = (("a", "w0", "modest", 300, BUSY), ("b", "w1", "greedy", 9_000, 10))
    for program, worker, tenant, tokens, calls in flying:
        scheduler.on(PlacementLearned(program, worker), 0.0)
        for number in range(calls):
            arrived = beginning_with(program, tokens, call(f"{program}{number}", program, tenant=tenant))
            assert sent(scheduler, arrived) == [f"{program}{number}"]
    for number in range(6):
        assert sent(scheduler, beginning_with("a", 300, call(f"c{number}", f"c{number}", tenant="modest"))) == []
    for number in range(50):
        assert sent(scheduler, beginning_with("b", 9_000, call(f"b{10 + number}", "b", tenant="greedy"))) == []
    assert sent(scheduler, Tick(), 0.1) == []
    (more,) = sent(scheduler, Finished("b0"), 0.2)
    assert more.startswith("b"), "the room is theirs who wait for it already"
    assert [worker.queued for worker in scheduler.snapshot(0.2).workers] == [0, 49]
    assert [sent(scheduler, Finished(f"a{number}"), 0.3) for number in range(2)] == [["c0"], ["c1"]]


def test_a_head_that_has_to_wait_stops_its_own_queue_alone():
    """The first of those that may begin anywhere has used its tenant's part; who waits for w0 has not."""
    scheduler = both_busy(20_000)
    assert sent(scheduler, call("anywhere", "c")) == []
    assert sent(scheduler, beginning_with("a", 20_000, call("here", "d", tenant="other"))) == ["here"]
    assert sent(scheduler, beginning_with("a", 20_000, call("again", "e", tenant="other"))) == ["again"]
    assert sent(scheduler, beginning_with("a", 20_000, call("more", "f", tenant="other"))) == []
    assert sent(scheduler, Finished("here")) == ["more"], "though another, which came before, still waits"


def test_when_a_program_begins_all_its_calls_that_waited_go_wherever_they_waited():
    scheduler = both_busy(20_000)
    assert sent(scheduler, beginning_with("a", 20_000, call("c0", "c"))) == []
    assert sent(scheduler, beginning_with("b", 20_000, call("d0", "d"))) == []
    assert sent(scheduler, beginning_with("b", 20_000, call("c1", "c"))) == []
    assert sent(scheduler, Finished("a0")) == ["c0", "c1"]
    assert sent(scheduler, Finished("b0")) == []
    assert sent(scheduler, Finished("b1")) == ["d0"]


def test_a_program_under_way_that_waits_for_its_context_waits_for_nobodys_turn():
    scheduler = both_busy(20_000)
    worker = scheduler._board.workers["w1"]
    assert sent(scheduler, beginning_with("b", 20_000, call("first", "c"))) == []
    scheduler.on(PlacementLearned("d", "w1"), 0.0)
    large = call("large", "d").call
    claimed_tokens = int(worker.limit_tokens * scheduler.settings.claim_ratio)
    assert sent(scheduler, Arrived(replace(large, prompt_tokens=claimed_tokens - large.output_tokens))) == []
    assert (worker.paused.live, worker.returning.live) == (1, 1)
    assert sent(scheduler, SessionEnded("b")) == ["large"], "its turn is nothing that it waits for"


def test_who_waited_for_its_turn_and_has_it_waits_no_longer_than_for_a_claim():
    scheduler = both_busy(20_000)
    worker, large = scheduler._board.workers["w1"], call("large", "d").call
    claimed_tokens = int(worker.limit_tokens * scheduler.settings.claim_ratio)
    large = replace(large, prompt_tokens=claimed_tokens - large.output_tokens)
    assert sent(scheduler, Arrived(large)) == []
    entry = scheduler._board.calls["large"]
    assert entry.due_s == scheduler.settings.max_pause_s
    scheduler.on(PlacementLearned("d", "w1"), 5.0)
    assert (worker.returning.live, entry.due_s) == (1, scheduler.settings.max_claim_s)


def test_to_be_looked_at_while_it_waits_is_not_to_leave_the_queue():
    """Else a full queue's Retry-After, which goes by how fast calls leave, would say that it empties in no time."""
    scheduler = both_busy(20_000)
    assert sent(scheduler, call("c0", "c")) == []
    waiting = scheduler._board.tenants.find("t")
    before = waiting.last_left_s, waiting.interval_s
    for tick in range(1, 20):
        assert sent(scheduler, Tick(), tick / 10) == []
    assert (waiting.last_left_s, waiting.interval_s) == before


def test_a_client_that_gives_up_some_time_has_half_of_that_for_its_reply():
    scheduler = core()
    busy(scheduler)
    impatient = Arrived(replace(call("impatient", "b").call, patience_s=20.0))
    assert sent(scheduler, call("patient", "c")) == []
    assert sent(scheduler, impatient) == []
    assert sent(scheduler, Tick(), 9.9) == []
    assert sent(scheduler, Tick(), 10.0) == ["impatient"]
    assert sent(scheduler, Tick(), 59.9) == []
    assert sent(scheduler, Tick(), 60.0) == ["patient"]


def test_who_has_waited_half_its_clients_patience_for_its_inputs_waits_for_no_turn():
    scheduler = core()
    busy(scheduler)
    late = Arrived(replace(call("late", "b").call, patience_s=20.0))
    assert sent(scheduler, late, 10.0) == ["late"]
