from gateway.store.breaker import Breaker


def test_it_opens_after_failures_in_a_row_and_closes_at_the_first_success() -> None:
    breaker = Breaker(threshold=3)
    breaker.failed(0.0)
    breaker.failed(0.0)
    breaker.succeeded()
    breaker.failed(0.0)
    breaker.failed(0.0)
    assert not breaker.is_open
    breaker.failed(0.0)
    assert breaker.is_open
    breaker.succeeded()
    assert not breaker.is_open


def test_pauses_double_up_to_the_longest() -> None:
    breaker = Breaker(threshold=1, pause_s=0.25, max_pause_s=2.0)
    pauses = []
    for _ in range(6):
        breaker.failed(100.0)
        pauses.append(breaker.retry_at_s - 100.0)
    assert pauses == [0.25, 0.5, 1.0, 2.0, 2.0, 2.0]


def test_a_server_that_was_never_reached_opens_it_at_once() -> None:
    breaker = Breaker()
    breaker.trip(5.0)
    assert breaker.is_open
    assert breaker.retry_at_s == 5.25
