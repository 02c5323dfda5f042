"""Programs under KV pressure: who waits, for how long, and who gives way."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.estimate.rates import WorkerRates
from gateway.nouns import Chain, ReadyCall
from gateway.schedule.claims import Claims
from gateway.schedule.core import Scheduler
from gateway.schedule.events import (
    Arrived,
    Cancelled,
    Dispatch,
    Event,
    Failed,
    Finished,
    SessionEnded,
    Tick,
    WorkerUp,
)
from gateway.schedule.settings import SchedulerSettings
from gateway.schedule.worker import WorkerState

CAPACITY = 1000


def core(**settings: object) -> Scheduler:
    made = Scheduler(SchedulerSettings(pause="programs", tool_hold_s=5.0, claim_ratio=1.0, **settings))  # type: ignore[arg-type]
    made.on(WorkerUp("w0", ("m",), kv_capacity_tokens=CAPACITY), 0.0)
    return made


def call(name: str, program: str | None, tokens: int = 400, at_s: float = 0.0) -> Arrived:
    return Arrived(ReadyCall(name, "t", "m", at_s, tokens - 10, 10, program=program))


def sent(scheduler: Scheduler, event: Event, now_s: float) -> list[str]:
    effects = scheduler.on(event, now_s)
    scheduler.integrity()
    return [effect.call_id for effect in effects if isinstance(effect, Dispatch)]


def test_a_program_that_does_not_fit_waits_until_another_is_over_and_calls_of_the_others_pass_it():
    scheduler = core(admit="calls")
    assert sent(scheduler, call("a0", "a"), 0.0) == ["a0"]
    assert sent(scheduler, call("b0", "b"), 0.0) == ["b0"]
    assert sent(scheduler, call("c0", "c"), 0.0) == []
    sent(scheduler, Finished("a0"), 1.0)
    assert sent(scheduler, call("a1", "a", at_s=2.0), 2.0) == ["a1"], "its context is there"
    assert sent(scheduler, call("lone", None, at_s=2.0), 2.0) == ["lone"], "no program, no claim"
    sent(scheduler, Finished("a1"), 3.0)
    assert sent(scheduler, Tick(), 3.5) == []
    assert sent(scheduler, SessionEnded("a"), 3.6) == ["c0"]


def test_tools_that_take_long_give_way_and_the_shortest_context_first():
    scheduler = core(admit="calls")
    for name, tokens in (("long", 500), ("short", 300), ("other", 200)):
        assert sent(scheduler, call(f"{name}0", name, tokens), 0.0) == [f"{name}0"]
    sent(scheduler, Finished("long0"), 1.0)
    sent(scheduler, Finished("short0"), 1.0)
    assert sent(scheduler, call("new0", "new", 300, at_s=2.0), 2.0) == []
    assert sent(scheduler, Tick(), 5.9) == []
    assert sent(scheduler, Tick(), 6.1) == ["new0"]
    assert sent(scheduler, call("long1", "long", 500, at_s=6.2), 6.2) == ["long1"], "it kept its claim"
    assert sent(scheduler, call("short1", "short", at_s=6.2), 6.2) == [], "it did not"


def test_nobody_waits_longer_than_the_bound_and_an_idle_worker_takes_anybody():
    scheduler = core(admit="calls", max_claim_s=30.0)
    assert sent(scheduler, call("a0", "a", 5 * CAPACITY), 0.0) == ["a0"]
    assert sent(scheduler, call("b0", "b"), 0.0) == []
    assert sent(scheduler, Tick(), 29.9) == []
    assert sent(scheduler, Tick(), 30.0) == ["b0"]
    assert sent(scheduler, call("c0", "c", at_s=31.0), 31.0) == []
    sent(scheduler, Finished("a0"), 32.0)
    assert sent(scheduler, Finished("b0"), 33.0) == ["c0"]


def test_a_call_that_is_cancelled_while_it_waits_claims_nothing():
    scheduler = core(admit="calls")
    sent(scheduler, call("a0", "a", 900), 0.0)
    sent(scheduler, call("b0", "b"), 0.0)
    sent(scheduler, Cancelled("b0"), 1.0)
    assert not scheduler.holds("b0")
    sent(scheduler, Cancelled("a0"), 1.0)
    assert sent(scheduler, call("c0", "c", at_s=1.0), 1.0) == ["c0"]


steps = st.lists(
    st.tuples(
        st.sampled_from(["begin", "end", "drop", "ask", "forget"]),
        st.sampled_from("abcd"),
        st.sampled_from(["w0", "w1"]),
        st.integers(1, 900),
    ),
    max_size=60,
)


@given(steps)
def test_what_is_claimed_is_the_sum_of_the_contexts(steps):
    claims = Claims(hold_s=3.0)
    workers = {name: WorkerState(name, WorkerRates(), CAPACITY, 8) for name in ("w0", "w1")}
    held: dict[str, tuple[str, int]] = {}
    for now_s, (what, program, name, tokens) in enumerate(steps):
        worker = workers[name]
        worker.calls = 1
        if what == "ask":
            before = dict(held)
            admitted = claims.admits(program, worker, tokens, float(now_s))
            held = {p: (w, t) for p, (w, t) in held.items() if p in claims._of}
            others = {p: before[p] for p in before if p != program}
            assert admitted or {p: held[p] for p in held if p != program} == others, "nobody gives way in vain"
            assert admitted or held.get(program, ("", 0))[0] != name, "nor keeps a claim and waits"
        elif what == "begin":
            claims.begin(program, name, tokens)
            was = held.get(program, (name, 0))
            held[program] = (name, max(tokens, was[1] if was[0] == name else 0))
        elif what == "end":
            before_end = dict(held)
            begun = tokens % 2 == 0
            claims.end(program, name, float(now_s), has_begun=begun)
            held = {p: w for p, w in held.items() if p in claims._of}
            assert not begun or held == before_end
        elif what == "drop":
            claims.drop(program)
            held.pop(program, None)
        else:
            claims.forget(name)
            held = {p: (w, t) for p, (w, t) in held.items() if w != name}
        for each in workers:
            assert claims.tokens(each) == sum(t for w, t in held.values() if w == each)
        assert len(claims) == len(held)


def test_a_call_ends_no_claim_but_that_on_the_worker_where_it_was_admitted():
    claims = Claims(hold_s=3.0)
    claims.begin("a", "w0", 100)
    claims.begin("a", "w1", 100)
    claims.end("a", "w0", 1.0, has_begun=True)
    worker = WorkerState("w1", WorkerRates(), 100, 8)
    worker.calls = 1
    assert not claims.admits("b", worker, 50, 60.0), "its other call is still there: it gives way to nobody"
    claims.end("a", "w1", 2.0, has_begun=True)
    assert claims.admits("b", worker, 50, 60.0)


def test_a_program_of_which_nothing_was_sent_claims_nothing():
    scheduler = core(admit="calls", max_calls_per_worker=1, max_queue_per_tenant=1)
    assert sent(scheduler, call("a0", "a", 300), 0.0) == ["a0"]
    assert sent(scheduler, call("b0", "b", 300), 0.0) == [], "it has its claim, and is queued"
    assert sent(scheduler, call("c0", "c", 300), 0.0) == [], "it had its claim, and is refused"
    assert not scheduler.holds("c0")
    assert scheduler._pausing._claims is not None
    assert scheduler._pausing._claims.tokens("w0") == 600
    sent(scheduler, Cancelled("b0"), 1.0)
    assert scheduler._pausing._claims.tokens("w0") == 300


def test_a_worker_that_idles_since_a_call_failed_there_takes_who_waited_for_its_claim():
    scheduler = core(admit="calls")
    assert sent(scheduler, call("a0", "a", 900), 0.0) == ["a0"]
    assert sent(scheduler, call("b0", "b", 900), 0.0) == []
    assert sent(scheduler, Failed("a0", retry=True), 1.0) == ["b0"]


def test_a_worker_that_was_restarted_holds_no_context():
    scheduler = core(admit="calls")
    assert sent(scheduler, call("a0", "a", 900), 0.0) == ["a0"]
    assert sent(scheduler, call("b0", "b", 900), 0.0) == []
    assert sent(scheduler, WorkerUp("w0", ("m",), kv_capacity_tokens=CAPACITY, fresh=True), 1.0) == ["b0"]


def test_what_programs_share_is_no_context_of_theirs():
    scheduler = core(admit="calls")
    hashes, tokens = (1,), (700,)
    for number in range(8):
        chain = Chain((*hashes, 100 + number), (*tokens, 710))
        each = ReadyCall(f"c{number}", "t", "m", 0.0, 710, 20, chain=chain, program=f"p{number}")
        assert sent(scheduler, Arrived(each), 0.0) == [f"c{number}"]


def test_programs_that_never_end_on_a_worker_that_idles_between_them_are_forgotten():
    scheduler = core(admit="calls")
    for number in range(100):
        assert sent(scheduler, call(f"c{number}", f"p{number}", at_s=float(number)), float(number)) == [
            f"c{number}"
        ]
        sent(scheduler, Finished(f"c{number}"), number + 0.5)
    claims = scheduler._pausing._claims
    assert claims is not None
    assert (len(claims), claims.tokens("w0")) == (2, 800)


def test_contexts_that_grow_beyond_the_capacity_make_the_shortest_of_those_at_their_tools_wait():
    scheduler = core(admit="calls")
    for name in ("busy", "short", "long"):
        sent(scheduler, call(f"{name}0", name, 300), 0.0)
    sent(scheduler, Finished("short0"), 1.0)
    sent(scheduler, Finished("long0"), 1.0)
    assert sent(scheduler, call("long1", "long", 600, at_s=1.1), 1.1) == ["long1"]
    assert sent(scheduler, call("short1", "short", 310, at_s=1.2), 1.2) == []
    sent(scheduler, Finished("long1"), 2.0)
    assert sent(scheduler, SessionEnded("long"), 2.1) == ["short1"]
