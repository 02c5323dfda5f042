"""The routes of a session's variables: `GET` (now, at its value, or streamed), `PUT`, and `POST .../cancel`."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Protocol

import orjson
from fastapi import APIRouter, Query, Request
from fastapi.responses import Response, StreamingResponse
from starlette.types import Send

from gateway.control.errors import json_reply
from gateway.control.routes import Session, Tenant, decoded
from gateway.errors import BadRequest, NotFound, TooLarge
from gateway.store.variable import State, Variable

Wait = Annotated[float | None, Query(ge=0, le=600, allow_inf_nan=False)]
STREAM_WAIT_S = 600.0


class VariablePorts(Protocol):
    """What the routes need of the gateway. Everything may raise a LoomgateError."""

    async def read(self, tenant: str, session: str, name: str, wait_s: float) -> Variable:
        """A variable as it stands; waits for its value up to `wait_s` seconds."""

    def document(self, tenant: str, session: str, variable: Variable) -> bytes:
        """It as JSON."""

    async def put(self, tenant: str, session: str, name: str, text: str, kind: str) -> None:
        """Set it, once."""

    async def cancel(self, tenant: str, session: str) -> int:
        """End what is left of a session; how many calls."""


class EventPorts(Protocol):
    """Where a variable is read along."""

    def events(self, tenant: str, session: str, name: str, wait_s: float) -> AsyncGenerator[bytes]:
        """Server-sent events, until there is a value or will be none. Never raises."""


def variable_routes(ports: VariablePorts, streams: EventPorts, limit_bytes: int) -> APIRouter:
    """The routes; `limit_bytes` bounds what a `PUT` may carry."""
    routes = APIRouter()

    @routes.get("/v1/workflow/sessions/{session}/variables/{name}")
    async def read(request: Request, tenant: Tenant, session: Session, name: str, wait_s: Wait = None) -> Response:
        name, accept = decoded(name), request.headers.get("accept", "")
        if "text/event-stream" in accept:
            await ports.read(tenant, session, name, 0)
            return _Events(streams.events(tenant, session, name, wait_s or STREAM_WAIT_S))
        variable = await ports.read(tenant, session, name, wait_s or 0)
        if variable.state is State.UNKNOWN:
            raise NotFound(f"Nobody has declared {name!r} in the session {session!r}.", code="unknown_variable")
        if variable.value is not None and "text/plain" in accept:
            return Response(variable.value.text, media_type="text/plain; charset=utf-8")
        status = 202 if variable.value is None else 200
        return Response(ports.document(tenant, session, variable), status, media_type="application/json")

    @routes.put("/v1/workflow/sessions/{session}/variables/{name}")
    async def put(request: Request, tenant: Tenant, session: Session, name: str) -> Response:
        text, kind = _text_of(await _body(request, limit_bytes), request.headers.get("content-type", ""))
        await ports.put(tenant, session, decoded(name), text, kind)
        return json_reply({"object": "workflow.variable", "name": decoded(name), "session": session}, 201)

    @routes.post("/v1/workflow/sessions/{session}/cancel")
    async def cancel(tenant: Tenant, session: Session) -> Response:
        calls = await ports.cancel(tenant, session)
        return json_reply({"object": "workflow.session.cancelled", "id": session, "calls": calls})

    return routes


class _Events(StreamingResponse):
    """Server-sent events; the client's leaving ends what makes them."""

    body_iterator: AsyncGenerator[bytes]

    def __init__(self, events: AsyncGenerator[bytes]) -> None:
        super().__init__(events, headers={"cache-control": "no-store"}, media_type="text/event-stream")

    async def stream_response(self, send: Send) -> None:
        """Send them all."""
        async with aclosing(self.body_iterator):
            await super().stream_response(send)


async def _body(request: Request, limit_bytes: int) -> bytes:
    pieces: list[bytes] = []
    length_bytes = 0
    async for piece in request.stream():
        length_bytes += len(piece)
        if length_bytes > limit_bytes:
            raise TooLarge(f"A value may have {limit_bytes} bytes ([limits] value_bytes).", code="value_too_large")
        pieces.append(piece)
    return b"".join(pieces)


def _text_of(body: bytes, content_type: str) -> tuple[str, str]:
    """The value and its kind: JSON as its own text (a JSON string as that string), anything else as it is."""
    try:
        if not content_type.startswith("application/json"):
            return body.decode(), "text"
        value = orjson.loads(body)
    except (UnicodeDecodeError, orjson.JSONDecodeError) as error:
        raise BadRequest(f"The value is not {content_type or 'UTF-8 text'}: {error}", code="bad_value") from None
    return (value, "text") if isinstance(value, str) else (body.decode(), "json")
