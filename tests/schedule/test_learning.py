"""What replies teach of their workers, and how often."""

from __future__ import annotations

from gateway.nouns import ReadyCall, Usage
from gateway.schedule.core import Scheduler
from gateway.schedule.events import Arrived, Finished, WorkerUp
from gateway.schedule.learning import LEARN_EVERY_S, SETTLED_SAMPLES


def test_settled_rates_learn_from_some_replies_a_second_and_from_each_until_then():
    scheduler = Scheduler()
    scheduler.on(WorkerUp("w0", ("m",)), 0.0)
    rates = scheduler.service.add("w0")

    def reply(name: str, now_s: float) -> None:
        scheduler.on(Arrived(ReadyCall(name, "t", "m", now_s, 100, 100)), now_s)
        scheduler.on(Finished(name, Usage(100, 100)), now_s + 0.001)

    for number in range(SETTLED_SAMPLES):
        reply(f"early{number}", 0.0)
    assert rates.samples == SETTLED_SAMPLES
    for number in range(100):
        reply(f"fast{number}", 1.0 + number * LEARN_EVERY_S / 10)
    assert rates.samples == SETTLED_SAMPLES + 10
    for number in range(10):
        reply(f"slow{number}", 2.0 + number)
    assert rates.samples == SETTLED_SAMPLES + 20
