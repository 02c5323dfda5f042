"""The errors the gateway itself answers with, split by whose fault they are, and their form on the wire.

LoomgateError
├─ ClientFault             4xx, nothing to retry unless said
│  ├─ BadRequest           400 malformed body or hint, or a value out of bounds
│  ├─ ForbiddenField       400 a field the gateway does not let through
│  ├─ Unauthenticated      401
│  ├─ NotFound             404 unknown route, model, session or call (another tenant's included)
│  ├─ MethodNotAllowed     405
│  ├─ Conflict             409 a second producer, a name in use
│  ├─ TooLarge             413 body or headers over the limit
│  ├─ KeyReused            422 an idempotency key that stands for another request
│  ├─ DependencyFailed     424 an input's producer failed
│  └─ QueueFull            429 with Retry-After
├─ GatewayFault            5xx of ours
│  ├─ Unsupported          501 not in this version, or not with this store
│  ├─ StoreUnavailable     503 with Retry-After
│  │  └─ Superseded        503 with Retry-After: its outputs were given up while it ran
│  ├─ NoWorker             503 nobody serves the model just now
│  ├─ Overloaded           503 with Retry-After
│  └─ ShuttingDown         503
└─ EngineFault             the worker failed and no other could take over
   ├─ WorkerFailed         502
   └─ WorkerTimeout        504
"""

from __future__ import annotations

from enum import Enum
from typing import Any, ClassVar

import orjson


class Dialect(Enum):
    """Whose error shape the client expects."""

    OPENAI = "openai"
    ANTHROPIC = "anthropic"


class LoomgateError(Exception):
    """An answer of the gateway's own. `code` is stable; `message` names the fault and the remedy."""

    status: ClassVar[int] = 500
    kind: ClassVar[str] = "api_error"
    code: str = "internal_error"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        retry_after_s: float | None = None,
        should_retry: bool | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s
        self.should_retry = should_retry
        if code is not None:
            self.code = code


class ClientFault(LoomgateError):
    """The request cannot be served as sent."""

    status = 400
    kind = "invalid_request_error"
    code = "bad_request"


class BadRequest(ClientFault):
    """Malformed body or hint, or a value out of bounds."""


class ForbiddenField(ClientFault):
    """A body field or header value the gateway does not let through."""

    code = "forbidden_field"


class Unauthenticated(ClientFault):
    """No key, or one nobody has."""

    status = 401
    kind = "authentication_error"
    code = "invalid_api_key"


class NotFound(ClientFault):
    """Unknown route, model, session or call. What belongs to another tenant is unknown too."""

    status = 404
    kind = "not_found_error"
    code = "not_found"


class MethodNotAllowed(ClientFault):
    """The route exists, the method does not."""

    status = 405
    code = "method_not_allowed"

    def __init__(self, message: str, allow: str) -> None:
        """`allow` lists the methods that the route takes."""
        super().__init__(message)
        self.allow = allow


class Conflict(ClientFault):
    """A variable has a producer already, or a name is in use."""

    status = 409
    code = "conflict"


def session_cancelled() -> Conflict:
    """What the client of a call of a cancelled session is told."""
    return Conflict("The session was cancelled.", code="session_cancelled")


class TooLarge(ClientFault):
    """Body, headers or nesting over the limit."""

    status = 413
    code = "too_large"


class KeyReused(ClientFault):
    """An idempotency key came again with another request."""

    status = 422
    code = "idempotency_key_reused"


class DependencyFailed(ClientFault):
    """An input can never get a value."""

    status = 424
    code = "dependency_failed"


class QueueFull(ClientFault):
    """The tenant's queue is at its bound."""

    status = 429
    kind = "rate_limit_error"
    code = "queue_full"


class GatewayFault(LoomgateError):
    """The gateway cannot serve it now, or does not serve it at all."""


class Unsupported(GatewayFault):
    """Not in this version, or not with this store."""

    status = 501
    code = "unsupported"


class StoreUnavailable(GatewayFault):
    """Redis is absent, frozen or refusing, and this call needs it."""

    status = 503
    kind = "overloaded_error"
    code = "store_unavailable"
    perhaps_done: bool = False
    """What was asked had been sent: whether it took effect is not known."""


class Superseded(StoreUnavailable):
    """What the call was to produce has been given up for dead, or another attempt is at it: its reply is void."""

    code = "superseded"


class NoWorker(GatewayFault):
    """Nobody serves the model just now."""

    status = 503
    kind = "overloaded_error"
    code = "no_worker"


class Overloaded(GatewayFault):
    """The gateway holds as much as it may."""

    status = 503
    kind = "overloaded_error"
    code = "overloaded"


class ShuttingDown(GatewayFault):
    """The gateway drains."""

    status = 503
    kind = "overloaded_error"
    code = "shutting_down"


class EngineFault(LoomgateError):
    """The worker failed and no other could take over."""

    status = 502
    code = "worker_failed"


class WorkerFailed(EngineFault):
    """The worker broke off, or spoke no HTTP."""


class WorkerTimeout(EngineFault):
    """The worker missed a deadline."""

    status = 504
    code = "worker_timeout"


def error_body(error: LoomgateError, dialect: Dialect = Dialect.OPENAI) -> bytes:
    """The JSON body for one error in the client's dialect."""
    body: dict[str, Any]
    if dialect is Dialect.ANTHROPIC:
        body = {"type": "error", "error": {"type": error.kind, "message": error.message}}
    else:
        body = {"error": {"message": error.message, "type": error.kind, "param": error.param, "code": error.code}}
    return orjson.dumps(body)


def error_headers(error: LoomgateError) -> list[tuple[bytes, bytes]]:
    """Retry headers as the OpenAI SDK reads them, beside the content type."""
    headers = [(b"content-type", b"application/json")]
    if error.retry_after_s is not None:
        headers.append((b"retry-after", b"%d" % max(1, round(error.retry_after_s))))
        headers.append((b"retry-after-ms", b"%d" % max(1, round(error.retry_after_s * 1000))))
    if isinstance(error, MethodNotAllowed):
        headers.append((b"allow", error.allow.encode()))
    if error.should_retry is not None:
        headers.append((b"x-should-retry", b"true" if error.should_retry else b"false"))
    elif error.status in (409, 424, 501):
        headers.append((b"x-should-retry", b"false"))
    return headers
