"""The front: hot routes as one bare ASGI endpoint, everything else handed to the control app behind it.

Routing and authentication use the raw path and the raw headers, nothing rebuilt from them. Only listed routes
exist.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Protocol

import orjson
from starlette.types import ASGIApp, Receive, Scope, Send

from engines.base import RawHeaders, WorkerInfo
from gateway.call import Call
from gateway.dataflow.refusals import Refusals
from gateway.detached.deferred import DeferredCalls
from gateway.detached.replies import RETRIEVED_AT, location, pending_body
from gateway.detached.retries import Retries, retry_name
from gateway.dispatch import Dispatcher
from gateway.errors import (
    BadRequest,
    Dialect,
    LoomgateError,
    MethodNotAllowed,
    NotFound,
    ShuttingDown,
    error_body,
    error_headers,
)
from gateway.http.bodies import Bodies, ClientLeft
from gateway.intake import Intake
from gateway.replies.comments import Comments
from gateway.replies.relay import broken_event, workflow_headers
from gateway.wire.routes import ROUTES, Route
from hints.model import NO_HINT, HintError, Mode

OPEN_PATHS = frozenset({b"/health", b"/ready"})
_CONTROL_PATHS = (b"/v1/workflow/", *(f"{route}/".encode() for route in RETRIEVED_AT))
_DEFERRED = Mode.DEFERRED
log = logging.getLogger(__name__)


class Authenticate(Protocol):
    """Headers to tenant. Raises: Unauthenticated."""

    def __call__(self, headers: RawHeaders) -> str:
        """The tenant these headers authenticate."""


class Front:
    """The ASGI application of the main listener."""

    def __init__(
        self,
        *,
        authenticate: Authenticate,
        bodies: Bodies,
        intake: Intake,
        dispatcher: Dispatcher,
        deferred: DeferredCalls,
        retries: Retries,
        control: ASGIApp,
        models: Callable[[], Iterable[WorkerInfo]],
        refused: Callable[[LoomgateError], None],
        refusals: Refusals,
    ) -> None:
        self.authenticate = authenticate
        self.intake = intake
        self.draining = False
        self.comment_every_s: float | None = None
        """Streams that have not begun say something this often; None if they are silent."""
        self.bodies = bodies
        self._dispatcher = dispatcher
        self._deferred = deferred
        self._retries = retries
        self._control = control
        self._models = models
        self._refused = refused
        self._refusals = refusals

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one request."""
        if scope["type"] == "http":
            route = ROUTES.get(scope["raw_path"])
            if route is not None:
                return self._serve_call(route, scope, receive, send)
        return self._serve_other(scope, receive, send)

    async def _serve_call(self, route: Route, scope: Scope, receive: Receive, send: Send) -> None:
        call: Call | None = None
        comments: Comments | None = None
        raw = b""
        try:
            headers = self._admissible(route, scope)
            tenant = self.authenticate(headers)
            try:
                raw = await self.bodies.read(receive, headers)
                call = self.intake.admit(tenant, route, headers, raw)
            except (LoomgateError, HintError) as error:
                if self.intake.mode.reads:
                    self._refusals.unread(tenant, headers, raw, error)
                raise
            if self.comment_every_s is not None and call.request.stream:
                comments = Comments(call, send, self.comment_every_s)
                send = comments.send
            if call.hint is not NO_HINT and (name := retry_name(call)) is not None:
                run = partial(self._answer, route, call, headers)
                await self._retries.serve(name, call, send, scope["loomgate.on_disconnect"], run)
                return
            scope["loomgate.on_disconnect"](call.client_left)
            await self._dispatcher.run(call, headers, send)
            return
        except LoomgateError as error:
            fault: LoomgateError = error
        except HintError as error:
            fault = BadRequest(str(error), param=error.field, code="invalid_hint")
        except ClientLeft:
            return
        finally:
            self.bodies.release(len(raw))
            if comments is not None:
                comments.close()
        await self._fail(route, call, fault, send)

    async def _answer(self, route: Route, call: Call, headers: RawHeaders, send: Send) -> None:
        """Run a call that a retry may re-attach to: errors are part of what `send` is told."""
        try:
            if call.hint.mode is _DEFERRED:
                await self._defer(call, headers, send)
            else:
                await self._dispatcher.run(call, headers, send)
            return
        except LoomgateError as error:
            fault = error
        await self._fail(route, call, fault, send)

    async def _defer(self, call: Call, headers: RawHeaders, send: Send) -> None:
        accepted = await self._deferred.accept(call, headers)
        shown = [(b"content-type", b"application/json"), (b"location", location(accepted).encode())]
        status = 200 if call.request.in_background else 202
        await _send_json(send, status, pending_body(accepted, "queued"), [*shown, *workflow_headers(call)])

    def _admissible(self, route: Route, scope: Scope) -> RawHeaders:
        """The headers of a request that may be read on. Raises: MethodNotAllowed, ShuttingDown."""
        if scope["method"] != "POST":
            raise MethodNotAllowed(f"{route.target} takes POST only.", "POST")
        if self.draining:
            raise ShuttingDown("The gateway is shutting down; try again.", retry_after_s=1.0)
        headers: RawHeaders = scope["headers"]
        return headers

    async def _fail(self, route: Route, call: Call | None, error: LoomgateError, send: Send) -> None:
        self._refused(error)
        if call is not None and call.hint.outputs:
            self._refusals.call(call, error)
        if call is None:
            await send_error(send, error, route.dialect, [])
        elif call.first_byte_s is None:
            await send_error(send, error, route.dialect, workflow_headers(call))
        else:
            await send({"type": "http.response.body", "body": broken_event(call, error)})

    async def _serve_other(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await _refuse_protocol(scope, send)
            return
        path: bytes = scope["raw_path"]
        try:
            if path == b"/v1/models":
                await self._serve_models(scope, send)
            else:
                await self._serve_control(path, scope, receive, send)
            return
        except LoomgateError as error:
            fault = error
        except ClientLeft:
            return
        self._refused(fault)
        await send_error(send, fault, Dialect.OPENAI, [])

    async def _serve_models(self, scope: Scope, send: Send) -> None:
        if scope["method"] != "GET":
            raise MethodNotAllowed("/v1/models takes GET only.", "GET")
        self.authenticate(scope["headers"])
        cards: dict[object, dict[str, object]] = {}
        for info in self._models():
            for card in info.model_cards:
                cards.setdefault(card.get("id"), card)
        body = orjson.dumps({"object": "list", "data": list(cards.values())})
        await _send_json(send, 200, body, [(b"content-type", b"application/json")])

    async def _serve_control(self, path: bytes, scope: Scope, receive: Receive, send: Send) -> None:
        if path not in OPEN_PATHS:
            if not path.startswith(_CONTROL_PATHS) or path in _CONTROL_PATHS:
                raise _unknown_route(path)
            scope.setdefault("state", {})["tenant"] = self.authenticate(scope["headers"])
        await self._control(scope, receive, send)


def _unknown_route(path: bytes) -> NotFound:
    shown = path[:200].decode("ascii", "replace")
    return NotFound(
        f"There is no route {shown!r} here; paths are taken as sent, such as /v1/chat/completions.",
        code="unknown_route",
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
