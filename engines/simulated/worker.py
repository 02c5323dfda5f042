"""A simulated worker: the routes of an OpenAI-speaking vLLM as one bare ASGI application.

A request's life: 1. noted in `received`; 2. checked; 3. admitted to a slot; 4. computed and sent at the speed
of its `Behaviour`, with its fault, if any; 5. counted. A client that goes away ends it at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import orjson

from engines.simulated.behaviour import Behaviour, Fault
from engines.simulated.chat import CHAT, TEXT
from engines.simulated.compute import Compute
from engines.simulated.driver import EngineDriver
from engines.simulated.generation import Exchange, Generator
from engines.simulated.http import (
    CONNECTIONS,
    ClientGone,
    Receive,
    Scope,
    Send,
    close_idle,
    error_body,
    read_body,
    send_bytes,
    send_json,
    while_connected,
)
from engines.simulated.messages import MESSAGES
from engines.simulated.metrics import page
from engines.simulated.pooling import POOLING
from engines.simulated.profile import Profile
from engines.simulated.prompt import BadBody, Body
from engines.simulated.publisher import KvPublisher
from engines.simulated.reply import Dialect
from engines.simulated.responses import RESPONSES

GENERATING: dict[str, Dialect] = {
    "/v1/chat/completions": CHAT,
    "/v1/completions": TEXT,
    "/v1/responses": RESPONSES,
    "/v1/messages": MESSAGES,
}
RECEIVED_LIMIT = 1000


@dataclass(frozen=True, slots=True)
class Received:
    """A request as it arrived."""

    method: str
    path: str
    headers: list[tuple[bytes, bytes]]
    body: bytes

    def header(self, name: bytes) -> bytes | None:
        """The first value of a header, by its lower-case name."""
        return next((value for key, value in self.headers if key == name), None)

    def json(self) -> Body:
        """The body, parsed."""
        body: Body = orjson.loads(self.body)
        return body


class SimulatedWorker:
    """The application. `received` holds the latest requests, `compute` the counters.

    With a profile it computes as the engine that this was taken of, step by step, and has that one's limits;
    `kv_events` then publishes what its cache does.
    """

    def __init__(
        self,
        behaviour: Behaviour | None = None,
        profile: Profile | None = None,
        kv_events: KvPublisher | None = None,
    ) -> None:
        self.behaviour = behaviour or Behaviour()
        if profile is not None:
            limits = profile.limits
            self.behaviour = replace(
                self.behaviour,
                slots=limits.max_num_seqs,
                kv_blocks=limits.kv_blocks,
                block_size=limits.block_tokens,
                prefix_caching=limits.is_caching,
            )
        self.engine = (
            None if profile is None else EngineDriver(profile, None if kv_events is None else kv_events.publish)
        )
        self._kv_events = kv_events
        self.received: deque[Received] = deque(maxlen=RECEIVED_LIMIT)
        self.compute = Compute(self.behaviour)
        self.healthy = True
        self.fault: Fault | None = None
        """Committed on every generating request until `fault_count` of them."""
        self.fault_count = 0
        self._generator = Generator(self.behaviour, self.compute, self.engine)
        self._connections: Iterable[Any] = ()

    def set_fault(self, fault: Fault | None, times: int = 1_000_000) -> None:
        """Let the next `times` generating requests suffer `fault`."""
        self.fault = fault
        self.fault_count = times

    def close_idle(self) -> int:
        """Close kept-alive connections that no request is on; how many those were."""
        return close_idle(list(self._connections))

    async def close(self) -> None:
        """Stop computing."""
        if self.engine is not None:
            await self.engine.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        path: str = scope["path"]
        self._connections = scope.get("extensions", {}).get(CONNECTIONS, ())
        try:
            body = await read_body(receive)
            self.received.append(Received(scope["method"], path, scope["headers"], body))
            if not self._authorised(scope, path):
                await send_json(send, {"error": "Unauthorized"}, 401)
            elif scope["method"] == "GET":
                await self._get(path, send)
            elif path == "/fault":
                await self._set_fault(orjson.loads(body), send)
            else:
                await self._post(path, body, Exchange(scope, receive, send, self._next_fault(scope)))
        except ClientGone:
            return
        except (BadBody, orjson.JSONDecodeError) as error:
            await send_json(send, error_body(str(error), "BadRequestError", 400), 400)

    async def _get(self, path: str, send: Send) -> None:
        if path == "/health":
            await send_bytes(send, b"", 200 if self.healthy else 503)
        elif path == "/metrics":
            await send_bytes(send, self._metrics(), 200, (b"content-type", b"text/plain"))
        elif path == "/kv_event_sources" and self.engine is not None:
            await send_json(send, {"0": self._kv_events.source()} if self._kv_events is not None else {})
        elif path == "/version":
            await send_json(send, {"version": self.behaviour.version})
        elif path == "/v1/models":
            await send_json(send, {"object": "list", "data": [self._card()]})
        else:
            await send_json(send, {"detail": "Not Found"}, 404)

    async def _post(self, path: str, raw: bytes, exchange: Exchange) -> None:
        dialect = GENERATING.get(path)
        pooling = POOLING.get(path)
        if dialect is None and pooling is None:
            return await send_json(exchange.send, {"detail": "Not Found"}, 404)
        body = orjson.loads(raw)
        if not isinstance(body, dict):
            raise BadBody("the body must be an object")
        model = body.get("model", self.behaviour.model)
        if model != self.behaviour.model:
            error = error_body(f"The model `{model}` does not exist.", "NotFoundError", 404, "model")
            return await send_json(exchange.send, error, 404)
        if pooling is not None:
            return await send_json(exchange.send, {"model": model, **pooling(body).body})
        work = self._generator.run(dialect, body, exchange)  # type: ignore[arg-type]
        if self._generator.instant and exchange.fault is None:
            return await work
        return await while_connected(work, exchange.receive)

    def _metrics(self) -> bytes:
        b = self.behaviour
        counts = self.compute.counts() if self.engine is None else self.engine.counts()
        return page(b.model, b.block_size, b.kv_blocks, b.prefix_caching, counts).encode()

    def _card(self) -> Body:
        b = self.behaviour
        return {
            "id": b.model,
            "object": "model",
            "created": 0,
            "owned_by": "vllm",
            "root": b.model,
            "parent": None,
            "max_model_len": b.max_model_len,
        }

    def _authorised(self, scope: Scope, path: str) -> bool:
        key = self.behaviour.api_key
        if key is None or not path.startswith("/v1"):
            return True
        return (b"authorization", f"Bearer {key}".encode()) in scope["headers"]

    async def _set_fault(self, body: Body, send: Send) -> None:
        closed = self.close_idle() if body.get("close_idle") else 0
        if "fault" in body:
            fault = body["fault"]
            self.set_fault(Fault(fault) if fault else None, int(body.get("times", 1_000_000)))
        await send_json(send, {"fault": self.fault, "closed": closed})

    def _next_fault(self, scope: Scope) -> Fault | None:
        if self.fault is not None and self.fault_count > 0:
            self.fault_count -= 1
            return self.fault
        if self.behaviour.x_fault:
            for name, value in scope["headers"]:
                if name == b"x-fault":
                    return Fault(value.decode())
        return None
