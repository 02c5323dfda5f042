"""The parts of a running gateway that its control routes and its metrics page read; the wiring has them all."""

from __future__ import annotations

from typing import Protocol

from gateway.asgi import Front
from gateway.background import Background
from gateway.control.variable_access import VariableAccess
from gateway.dataflow.owners import Owners
from gateway.dataflow.parking import Parking
from gateway.detached.deferred import DeferredCalls
from gateway.estimate.estimators import Estimators
from gateway.fleet import Fleet, Worker
from gateway.http.server import Listening
from gateway.kv_watch import KvWatch
from gateway.loop import Loop
from gateway.metrics import Metrics
from gateway.resolve import Resolver
from gateway.settings import Settings
from gateway.store.open import Store
from gateway.store.recorder import Recorder
from gateway.store.sessions import Sessions


class Running(Protocol):
    """A gateway between its start and its end."""

    settings: Settings
    store: Store
    recorder: Recorder
    sessions: Sessions
    loop: Loop
    fleet: Fleet
    caches: KvWatch
    estimators: Estimators
    owners: Owners
    parking: Parking
    deferred: DeferredCalls
    resolver: Resolver
    access: VariableAccess
    front: Front
    listening: Listening | None
    metrics: Metrics
    background: Background

    def add_worker(self, name: str, url: str, api_key_env: str | None = None) -> Worker:
        """Watch a worker. Raises: ValueError if the name is in use."""
