"""What the gateway knows of an engine: a worker, its capabilities, its load, and its errors.

Nothing here does I/O, and nothing in `engines/` imports the gateway.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

RawHeaders = Sequence[tuple[bytes, bytes]]
"""Header pairs, names in lower case, as in ASGI."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a worker's flags and version allow. The default is what any OpenAI-compatible server takes."""

    priority: bool = False
    """The body field `priority` is accepted: it orders the queue under `--scheduling-policy priority`, and is
    ignored (vLLM 0.32) or a 400 (other versions, then False) under fcfs. No route tells the policy."""
    session_id: bool = False
    """The body field `session_id` comes back in KV events."""
    cache_salt: bool = False
    prefix_caching: bool = False
    prompt_tokens_details: bool = False
    """`usage.prompt_tokens_details.cached_tokens` is reported (`--enable-prompt-tokens-details`)."""
    kv_events: bool | None = None
    """Whether it publishes KV events; None if it does not tell."""
    version: str | None = None


@dataclass(frozen=True, slots=True)
class KvSource:
    """Where one data-parallel engine of a worker publishes its KV events."""

    rank: int
    events: str
    """A ZeroMQ address to subscribe to."""
    replay: str | None = None
    """Where missed messages can be asked for."""
    topic: str = ""


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """What a probe of a live worker found out."""

    models: tuple[str, ...]
    capabilities: Capabilities = Capabilities()
    max_model_len: int | None = None
    kv_capacity_tokens: int | None = None
    block_size: int | None = None
    kv_sources: tuple[KvSource, ...] = ()
    """Where its KV events can be read, one for each data-parallel engine."""
    model_cards: tuple[dict[str, object], ...] = field(default=(), compare=False)
    """The entries of its `GET /v1/models`, as received."""


@dataclass(frozen=True, slots=True)
class WorkerLoad:
    """One reading of a worker's `/metrics`. Counters are totals since its start."""

    running: int
    waiting: int
    kv_usage: float
    """Share of KV blocks in use, 0 to 1."""
    prefix_queries_tokens: int = 0
    prefix_hits_tokens: int = 0
    preemptions: int = 0


@dataclass(frozen=True, slots=True)
class Filled:
    """What the engine counted of a fill; None where it does not say."""

    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    """Of them, those it had before."""


class Response(Protocol):
    """A reply whose head has arrived. Exactly one of `read()` to the end, or `abort()`, must happen."""

    status: int
    headers: RawHeaders

    async def read(self) -> bytes:
        """The next piece of the body as it came, `b""` at its end.

        Raises: EngineError if the connection broke or a deadline passed.
        """

    async def read_all(self, limit_bytes: int) -> bytes:
        """The rest of the body at once. Raises: EngineError; ReplyTooLarge over `limit_bytes`."""

    def abort(self) -> None:
        """Close the connection now, so that the engine stops computing. Idempotent."""


class Engine(Protocol):
    """One worker's transport. Safe for any number of concurrent calls."""

    async def send(
        self,
        method: str,
        target: str,
        headers: RawHeaders,
        body: bytes,
        *,
        first_byte_s: float,
        idle_s: float,
    ) -> Response:
        """Send one request and wait for the reply's head.

        If the awaiting task is cancelled the connection is closed. Raises: EngineError.
        """

    async def fill(
        self, target: str, headers: RawHeaders, fields: Mapping[str, Any], *, ends_inside: bool, within_s: float
    ) -> Filled | None:
        """Compute the prompt of a body's `fields` into the prefix cache, and generate nothing to speak of.

        `ends_inside`: its last message goes on later. None if the engine refuses. If the awaiting task is cancelled
        the connection is closed. Raises: EngineError.
        """

    async def probe(self) -> WorkerInfo:
        """Ask the worker what it serves and takes. Raises: EngineError."""

    async def load(self) -> WorkerLoad | None:
        """Read its load; None if it exposes none. Raises: EngineError."""

    async def healthy(self) -> bool:
        """Whether it answers its health route in time. Never raises."""

    async def close(self) -> None:
        """Close idle connections and abort the busy ones."""


class EngineError(Exception):
    """
    EngineError            the worker, or the way to it, failed
    ├─ Unreachable         no connection (refused, reset while idle, name not found): nothing was executed
    ├─ Disconnected        the connection broke after the request was sent
    ├─ BadReply            the reply is not HTTP
    ├─ ReplyTooLarge       the reply is over the limit
    └─ EngineTimeout       a deadline passed
       ├─ FirstByteTimeout
       └─ IdleTimeout
    """


class Unreachable(EngineError):
    """No connection could be made; the worker executed nothing."""


class Disconnected(EngineError):
    """The connection broke after the request was sent."""


class BadReply(EngineError):
    """The worker answered something that is not HTTP."""


class ReplyTooLarge(EngineError):
    """The reply is longer than the caller allows."""


class EngineTimeout(EngineError):
    """A deadline passed; the connection was closed."""


class FirstByteTimeout(EngineTimeout):
    """No reply head in time."""


class IdleTimeout(EngineTimeout):
    """The reply stalled."""
