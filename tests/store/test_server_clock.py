"""A moment of Redis' clock on our own, by questions whose answers take their time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.store.server_clock import DRIFT, ServerClock

SERVER_AHEAD_S = 1_700_000_000.0
waits_s = st.floats(min_value=0.0, max_value=2.0)


@given(st.lists(st.tuples(waits_s, waits_s, waits_s), min_size=1, max_size=20))
def test_a_moment_is_never_early_and_late_by_less_than_the_quickest_answer(
    questions: list[tuple[float, float, float]],
) -> None:
    clock, now_s, quickest_s = ServerClock(), 0.0, 10.0
    for pause_s, there_s, back_s in questions:
        now_s += pause_s
        asked_s, told_s, now_s = now_s, now_s + there_s, now_s + there_s + back_s
        clock.note(asked_s, (told_s + SERVER_AHEAD_S) * 1e3, now_s)
        quickest_s = min(quickest_s + DRIFT * (pause_s + there_s + back_s), there_s + back_s)
        here_s = clock.here_s((told_s + SERVER_AHEAD_S) * 1e3)
        assert told_s - 1e-5 <= here_s <= told_s + quickest_s + 1e-5


def test_a_clock_that_was_set_is_believed_at_once() -> None:
    clock = ServerClock()
    clock.note(10.0, 100_000, 10.1)
    for set_to_ms in (50_000, 200_000):
        clock.note(11.0, set_to_ms, 11.5)
        assert abs(clock.here_s(set_to_ms) - 11.5) < 1e-6
