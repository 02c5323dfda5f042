"""The front: hot routes as one bare ASGI endpoint, everything else handed to the control app behind it.

Routing and authentication use the raw path and the raw headers, nothing rebuilt from them. Only listed routes
exist.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Protocol

import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from engines.base import RawHeaders, WorkerInfo
from gateway.dispatch import Dispatcher
from gateway.errors import (
    BadRequest,
    ClientFault,
    Dialect,
    LoomgateError,
    MethodNotAllowed,
    NotFound,
    ShuttingDown,
    TooLarge,
    error_body,
    error_headers,
)
from gateway.intake import Intake
from gateway.relay import broken_event, workflow_headers
from gateway.wire.routes import ROUTES, Route
from hints.model import HintError

BODY_DEADLINE_S = 120.0
_LENGTH_DIGITS = 20
"""A longer `content-length` is over any limit, or one whose zeros would cost us the reading."""
OPEN_PATHS = frozenset({b"/health", b"/ready"})
log = logging.getLogger(__name__)


class Authenticate(Protocol):
    """Headers to tenant. Raises: Unauthenticated."""

    def __call__(self, headers: RawHeaders) -> str:
        """The tenant these headers authenticate."""


class RequestTimeout(ClientFault):
    """The client took too long to send its body."""

    status = 408
    code = "request_timeout"


class ClientLeft(Exception):
    """The client closed its connection before it had sent its body: there is nobody to answer."""


class Front:
    """The ASGI application of the main listener."""

    def __init__(
        self,
        *,
        authenticate: Authenticate,
        intake: Intake,
        dispatcher: Dispatcher,
        control: ASGIApp,
        models: Callable[[], Iterable[WorkerInfo]],
        refused: Callable[[str, LoomgateError], None],
    ) -> None:
        self.authenticate = authenticate
        self.intake = intake
        self.draining = False
        self.body_limit_bytes = 32 << 20
        self._dispatcher = dispatcher
        self._control = control
        self._models = models
        self._refused = refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return await _refuse_protocol(scope, send)
        path: bytes = scope["raw_path"]
        route = ROUTES.get(path)
        try:
            if route is not None:
                await self._serve_call(route, scope, receive, send)
            elif path == b"/v1/models":
                await self._serve_models(scope, send)
            else:
                await self._serve_control(path, scope, receive, send)
        except LoomgateError as error:
            self._refused(route.name if route is not None else "control", error)
            await send_error(send, error, route.dialect if route is not None else Dialect.OPENAI, [])
        except ClientLeft:
            return None

    async def _serve_call(self, route: Route, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "POST":
            raise MethodNotAllowed(f"{route.target} takes POST only.")
        if self.draining:
            raise ShuttingDown("The gateway is shutting down; try again.", retry_after_s=1.0)
        headers: RawHeaders = scope["headers"]
        tenant = self.authenticate(headers)
        raw = await read_body(receive, headers, self.body_limit_bytes)
        try:
            call = self.intake.admit(tenant, route, headers, raw)
        except HintError as error:
            raise BadRequest(str(error), param=error.field, code="invalid_hint") from None
        scope["loomgate.on_disconnect"](call.client_left)
        try:
            await self._dispatcher.run(call, headers, send)
        except LoomgateError as error:
            self._refused(route.name, error)
            if call.first_byte_s is None:
                await send_error(send, error, route.dialect, workflow_headers(call))
            else:
                await send({"type": "http.response.body", "body": broken_event(call, error)})

    async def _serve_models(self, scope: Scope, send: Send) -> None:
        if scope["method"] != "GET":
            raise MethodNotAllowed("/v1/models takes GET only.")
        self.authenticate(scope["headers"])
        cards: dict[object, dict[str, object]] = {}
        for info in self._models():
            for card in info.model_cards:
                cards.setdefault(card.get("id"), card)
        body = orjson.dumps({"object": "list", "data": list(cards.values())})
        await _send_json(send, 200, body, [(b"content-type", b"application/json")])

    async def _serve_control(self, path: bytes, scope: Scope, receive: Receive, send: Send) -> None:
        if path not in OPEN_PATHS:
            if not path.startswith(b"/v1/workflow/"):
                raise _unknown_route(path)
            scope.setdefault("state", {})["tenant"] = self.authenticate(scope["headers"])
        await self._control(scope, receive, send)


async def read_body(receive: Receive, headers: RawHeaders, limit_bytes: int) -> bytes:
    """The whole body. Raises: TooLarge, RequestTimeout, ClientLeft."""
    for name, value in headers:
        if name == b"content-length" and (len(value) > _LENGTH_DIGITS or int(value) > limit_bytes):
            raise _too_large(limit_bytes)
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body"):
        body: bytes = message["body"]
        return body
    try:
        async with asyncio.timeout(BODY_DEADLINE_S):
            return await _read_pieces(message, receive, limit_bytes)
    except TimeoutError:
        raise RequestTimeout(f"The body did not arrive within {BODY_DEADLINE_S:g} s.") from None


async def _read_pieces(message: Message, receive: Receive, limit_bytes: int) -> bytes:
    pieces: list[bytes] = []
    size_bytes = 0
    while message["type"] == "http.request":
        pieces.append(message["body"])
        size_bytes += len(message["body"])
        if size_bytes > limit_bytes:
            raise _too_large(limit_bytes)
        if not message.get("more_body"):
            return b"".join(pieces)
        message = await receive()
    raise ClientLeft


def _unknown_route(path: bytes) -> NotFound:
    shown = path[:200].decode("ascii", "replace")
    return NotFound(
        f"There is no route {shown!r} here; paths are taken as sent, such as /v1/chat/completions.",
        code="unknown_route",
    )


def _too_large(limit_bytes: int) -> TooLarge:
    return TooLarge(
        f"The body is over the limit of {limit_bytes} bytes ([limits] body_bytes).", code="body_too_large"
    )


async def send_error(send: Send, error: LoomgateError, dialect: Dialect, also: list[tuple[bytes, bytes]]) -> None:
    """Answer with one of the gateway's own errors."""
    headers = [*error_headers(error), *also]
    if error.status in (408, 413):
        headers.append((b"connection", b"close"))
    await _send_json(send, error.status, error_body(error, dialect), headers)


async def _send_json(send: Send, status: int, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    headers.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _refuse_protocol(scope: Scope, send: Send) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1003})
