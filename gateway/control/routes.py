"""The control routes of the main listener: sessions, calls, health. FastAPI, behind the hot routes.

Paths are matched as they were sent and each segment is decoded once, after the split: a session's name may hold an
encoded slash and never reaches another route.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Protocol
from urllib.parse import unquote_to_bytes

from fastapi import APIRouter, Depends, FastAPI, Path, Query, Request
from fastapi.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.control.errors import json_reply, new_api
from gateway.errors import BadRequest, NotFound, Unauthenticated

Document = Mapping[str, object]
"""A JSON object as it goes out."""
_MAX_NAME_BYTES = 255


@dataclass(frozen=True, slots=True)
class Page:
    """Some of a list; `next_cursor` is None at its end."""

    items: Sequence[Document]
    next_cursor: str | None = None


class ControlPorts(Protocol):
    """What the control routes need of the gateway. May raise any LoomgateError (StoreUnavailable above all)."""

    async def list_sessions(self, tenant: str, limit: int, cursor: str | None) -> Page:
        """The tenant's sessions, latest first."""

    async def view(self, tenant: str, session: str) -> Document | None:
        """One session's nodes and edges, None if the tenant has no such session."""

    async def end(self, tenant: str, session: str) -> bool:
        """End a session; False if the tenant has no such session."""

    async def call(self, tenant: str, call_id: str) -> Document | None:
        """One call's record, None if the tenant has no such call."""

    async def readiness(self) -> Document:
        """What `/ready` shows; its `ready` decides between 200 and 503."""


class RawPath:
    """Middleware: routes see the path as it was sent, before percent-decoding."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its raw path."""
        if scope["type"] == "http":
            scope = {**scope, "path": scope["raw_path"].decode("ascii")}
        await self._app(scope, receive, send)


def decoded(segment: str) -> str:
    """One raw path segment as text. Raises: BadRequest."""
    raw = unquote_to_bytes(segment)
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise BadRequest("The path is not UTF-8.", code="bad_path") from None
    if len(raw) > _MAX_NAME_BYTES or any(char < " " or char == "\x7f" for char in text):
        raise BadRequest("A name in the path is over 255 bytes or holds control characters.", code="bad_path")
    return text


async def _tenant(request: Request) -> str:
    tenant = getattr(request.state, "tenant", None)
    if not isinstance(tenant, str):
        raise Unauthenticated("No API key.")
    return tenant


async def _session(session: Annotated[str, Path()]) -> str:
    return decoded(session)


async def _call_id(call_id: Annotated[str, Path()]) -> str:
    return decoded(call_id)


Tenant = Annotated[str, Depends(_tenant)]
Session = Annotated[str, Depends(_session)]
CallId = Annotated[str, Depends(_call_id)]
Limit = Annotated[int, Query(ge=1, le=200)]
Cursor = Annotated[str | None, Query(max_length=1024)]


def control_app(ports: ControlPorts, *others: APIRouter) -> FastAPI:
    """The control routes over `ports`, and the `others`."""
    api = new_api("loomgate")
    api.add_middleware(RawPath)
    _add_health(api, ports)
    _add_sessions(api, ports)
    for routes in others:
        api.include_router(routes)

    @api.get("/v1/workflow/calls/{call_id}")
    async def call(tenant: Tenant, call_id: CallId) -> Response:
        found = await ports.call(tenant, call_id)
        if found is None:
            raise NotFound(f"There is no call {call_id!r}.", code="unknown_call")
        return json_reply(found)

    return api


def _add_health(api: FastAPI, ports: ControlPorts) -> None:
    @api.get("/health")
    async def health() -> Response:
        return json_reply({"status": "ok"})

    @api.get("/ready")
    async def ready() -> Response:
        shown = await ports.readiness()
        return json_reply(shown, 200 if shown.get("ready") else 503)


def _add_sessions(api: FastAPI, ports: ControlPorts) -> None:
    @api.get("/v1/workflow/sessions")
    async def sessions(tenant: Tenant, limit: Limit = 100, after: Cursor = None) -> Response:
        page = await ports.list_sessions(tenant, limit, after)
        has_more = page.next_cursor is not None
        shown = {"object": "list", "data": list(page.items), "has_more": has_more, "next": page.next_cursor}
        return json_reply(shown)

    @api.get("/v1/workflow/sessions/{session}")
    async def view(tenant: Tenant, session: Session) -> Response:
        found = await ports.view(tenant, session)
        if found is None:
            raise _unknown_session(session)
        return json_reply(found)

    @api.delete("/v1/workflow/sessions/{session}")
    async def end(tenant: Tenant, session: Session) -> Response:
        if not await ports.end(tenant, session):
            raise _unknown_session(session)
        return json_reply({"object": "workflow.session.ended", "id": session, "ended": True})


def _unknown_session(session: str) -> NotFound:
    return NotFound(f"There is no session {session!r}.", code="unknown_session")
