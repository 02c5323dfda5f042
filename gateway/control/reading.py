"""The gateway's state at one moment, for a scrape of its metrics."""

from __future__ import annotations

from gateway.control.running import Running
from gateway.metrics import Reading, StoreReading, WorkerReading


def read_state(gateway: Running) -> Reading:
    """Read every part; costs O(calls queued)."""
    snapshot = gateway.loop.scheduler.snapshot(gateway.loop.clock())
    loads = {worker.name: worker for worker in snapshot.workers}
    counters = gateway.store.counters
    return Reading(
        queued=snapshot.queued,
        queue_age_s=snapshot.oldest_queued_age_s,
        parked=gateway.parking.parked,
        parked_age_s=gateway.parking.age_s,
        deferred=gateway.deferred.running,
        deferred_age_s=gateway.deferred.age_s,
        connections=0 if gateway.listening is None else gateway.listening.connections(),
        loop_lag_s=gateway.loop.lag_s,
        kv_events=gateway.caches.events,
        kv_gaps=gateway.caches.gaps,
        background_skipped=gateway.background.skipped,
        workers=tuple(
            WorkerReading(
                name=worker.name,
                state=worker.state,
                calls=loads[worker.name].calls if worker.name in loads else 0,
                tokens=loads[worker.name].tokens if worker.name in loads else 0,
                ejections=worker.ejections,
            )
            for worker in gateway.fleet
        ),
        store=StoreReading(
            up=gateway.store.status().up,
            breaker_open=gateway.store.breaker_open,
            ops=counters.ops,
            failures=counters.failures,
            refused=counters.refused,
            records_dropped=gateway.recorder.counters.dropped,
            batches=counters.batches,
            batch_seconds=counters.batch_seconds,
            slow_batches=counters.slow_batches,
        ),
        estimates=tuple(gateway.estimators.errors()),
    )
