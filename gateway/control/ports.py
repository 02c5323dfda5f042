"""What the control and admin routes see of a running gateway."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from gateway.control.estimates import estimates_document
from gateway.control.routes import Document, Page
from gateway.control.running import Running
from gateway.fleet import Worker
from gateway.graph.view import SessionMeta, call_view, session_view
from gateway.settings import Settings


class ControlView:
    """Implements `routes.ControlPorts`."""

    def __init__(self, gateway: Running) -> None:
        self._gateway = gateway

    async def list_sessions(self, tenant: str, limit: int, cursor: str | None) -> Page:
        """The tenant's sessions, latest first. Raises: StoreUnavailable, BadRequest."""
        await self._gateway.recorder.flush()
        page = await self._gateway.sessions.list(tenant, limit=limit, cursor=cursor)
        items = [
            {
                "session": found.session,
                "name": found.name,
                "state": "active" if found.ended_at is None else "ended",
                "created_at": found.created_at,
                "touched_at": found.touched_at,
                "calls": found.calls,
            }
            for found in page.sessions
        ]
        return Page(items, page.cursor)

    async def view(self, tenant: str, session: str) -> Document | None:
        """One session's nodes and edges. Raises: StoreUnavailable."""
        await self._gateway.recorder.flush()
        data = await self._gateway.sessions.view(tenant, session)
        if data is None:
            return None
        lost = await self._gateway.owners.lost(data.left_to_replicas())
        meta = SessionMeta(data.name, data.ended_at is not None, data.placement, lost)
        return {**session_view(session, meta, data.records), "dropped": data.dropped}

    async def end(self, tenant: str, session: str) -> bool:
        """End a session, and whatever of it still runs or waits. Raises: StoreUnavailable."""
        await self._gateway.recorder.flush()
        self._gateway.resolver.end_session(tenant, session)
        if not await self._gateway.sessions.end(tenant, session):
            return False
        await self._gateway.access.cancel(tenant, session)
        return True

    async def call(self, tenant: str, call_id: str) -> Document | None:
        """One of the calls this replica remembers."""
        record = self._gateway.resolver.recent(call_id)
        return call_view(record) if record is not None and record.tenant == tenant else None

    async def readiness(self) -> Document:
        """Ready means: a worker is in rotation and the gateway does not drain."""
        gateway = self._gateway
        status = gateway.store.status()
        in_rotation = gateway.fleet.in_rotation()
        return {
            "ready": in_rotation > 0 and not gateway.front.draining,
            "draining": gateway.front.draining,
            "workers": {"in_rotation": in_rotation, "known": len(list(gateway.fleet))},
            "store": {"mode": status.mode, "up": status.up, "durable": status.durable, "why_not": status.why_not},
            "hints": gateway.settings.hints.mode,
        }


class AdminView:
    """Implements `admin.AdminPorts`."""

    def __init__(self, gateway: Running) -> None:
        self._gateway = gateway

    def metrics(self) -> bytes:
        """The metrics page."""
        return self._gateway.metrics.page()

    def settings(self) -> Settings:
        """The settings in force."""
        return self._gateway.settings

    def estimates(self) -> Document:
        """What was learned, and how good it is."""
        return estimates_document(self._gateway.estimators)

    async def list(self) -> Sequence[Document]:
        """The workers."""
        return [_shown(worker) for worker in self._gateway.fleet]

    async def add(self, name: str | None, url: str, api_key_env: str | None) -> Document:
        """Watch a new worker. Raises: ValueError if its name is in use."""
        name = (
            name if name is not None else urlsplit(url).netloc.replace(":", "-").replace("[", "").replace("]", "")
        )
        return _shown(self._gateway.add_worker(name, url, api_key_env))

    async def drain(self, name: str) -> None:
        """No new calls for a worker. Raises: KeyError."""
        self._gateway.fleet.drain(name)

    async def remove(self, name: str) -> None:
        """Forget a worker. Raises: KeyError."""
        await self._gateway.fleet.remove(name)


def _shown(worker: Worker) -> Document:
    load, info = worker.load, worker.info
    return {
        "name": worker.name,
        "url": worker.url,
        "state": worker.state,
        "models": list(info.models),
        "version": info.capabilities.version,
        "kv_capacity_tokens": info.kv_capacity_tokens,
        "load": None
        if load is None
        else {"running": load.running, "waiting": load.waiting, "kv_usage": load.kv_usage},
        "ejections": worker.ejections,
        "last_error": worker.last_error,
    }
