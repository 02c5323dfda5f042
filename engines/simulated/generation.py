"""One generation on a simulated worker: a slot, a prefill, a decode, a reply; sent at the worker's pace."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from itertools import count

import orjson

from engines.simulated.behaviour import UNLIMITED, Behaviour, Fault, PriorityRule
from engines.simulated.chat import REASONING
from engines.simulated.compute import Compute
from engines.simulated.faults import MID_REPLY, Broken, instead_of_reply, mid_reply
from engines.simulated.http import JSON, Receive, Scope, Send, send_json, start_events
from engines.simulated.prompt import BadBody, Body, Prompt
from engines.simulated.reply import Dialect, Reply, answer, tool_offered


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request's ASGI ends, and what shall go wrong with it."""

    scope: Scope
    receive: Receive
    send: Send
    fault: Fault | None = None


class Generator:
    """Generates replies, as many at a time as the worker has slots."""

    def __init__(self, behaviour: Behaviour, compute: Compute) -> None:
        self.behaviour = behaviour
        self._compute = compute
        self._ids = count(1)

    @property
    def instant(self) -> bool:
        """Whether a reply takes no time just now."""
        b = self.behaviour
        unhurried = b.prefill_tokens_per_s == b.decode_tokens_per_s == UNLIMITED
        return unhurried and self._compute.running < b.slots

    async def run(self, dialect: Dialect, body: Body, exchange: Exchange) -> None:
        """Answer one request. Raises: BadBody."""
        prompt = dialect.prompt(body)
        if prompt.tokens > self.behaviour.max_model_len:
            raise BadBody(f"This model's maximum context length is {self.behaviour.max_model_len} tokens.")
        priority = self._priority(body, exchange.scope)
        said = answer(self.behaviour, body, prompt)
        async with self._compute.slot(priority):
            fault = exchange.fault
            if fault is not None and fault not in MID_REPLY:
                limit_s = self.behaviour.slow_header_s
                return await instead_of_reply(fault, exchange.scope, exchange.receive, exchange.send, limit_s)
            cached = await self._prefill(prompt)
            reply = self._reply(dialect, body, prompt, said, cached=cached)
            try:
                if body.get("stream"):
                    await self._stream(dialect, reply, _wants_usage(body), exchange)
                else:
                    await self._whole(dialect, reply, exchange)
            except Broken:
                return None

    def _priority(self, body: Body, scope: Scope) -> int:
        priority = body.get("priority") or 0
        for name, value in scope["headers"]:
            if name == b"x-vllm-priority":
                priority = int(value)
        if not isinstance(priority, int):
            raise BadBody("priority must be an integer")
        if priority and self.behaviour.priority is PriorityRule.REFUSED:
            raise BadBody(f"Got priority {priority} but Priority scheduling is not enabled.")
        return priority

    async def _prefill(self, prompt: Prompt) -> int:
        b, compute = self.behaviour, self._compute
        cached = compute.cache.cached_tokens(prompt) if b.prefix_caching else 0
        compute.prefix_queries_tokens += prompt.tokens
        compute.prefix_hits_tokens += cached
        if b.prefill_tokens_per_s != UNLIMITED:
            await asyncio.sleep((prompt.tokens - cached) / b.prefill_tokens_per_s)
        if b.prefix_caching:
            compute.cache.store(prompt)
        return cached

    def _reply(
        self, dialect: Dialect, body: Body, prompt: Prompt, said: tuple[tuple[str, ...], bool], *, cached: int
    ) -> Reply:
        b = self.behaviour
        return Reply(
            id=f"{dialect.id_prefix}{next(self._ids)}",
            model=b.model,
            created=int(time.time()),
            tokens=said[0],
            prompt_tokens=prompt.tokens,
            cached_tokens=cached if b.prompt_tokens_details else None,
            reasoning=(REASONING,) * b.reasoning_tokens,
            tool=tool_offered(body) if b.tool_calls else None,
            truncated=said[1],
            choices=int(body.get("n") or 1),
        )

    async def _whole(self, dialect: Dialect, reply: Reply, exchange: Exchange) -> None:
        if self.behaviour.decode_tokens_per_s != UNLIMITED:
            await asyncio.sleep(reply.completion_tokens / self.behaviour.decode_tokens_per_s)
        if exchange.fault is None or exchange.fault is Fault.GARBAGE_SSE:
            return await send_json(exchange.send, dialect.whole(reply))
        data = orjson.dumps(dialect.whole(reply))
        headers = [JSON, (b"content-length", b"%d" % len(data))]
        await exchange.send({"type": "http.response.start", "status": 200, "headers": headers})
        half = data[: len(data) // 2]
        await exchange.send({"type": "http.response.body", "body": half, "more_body": True})
        return await mid_reply(exchange.fault, exchange.scope, exchange.receive, exchange.send)

    async def _stream(self, dialect: Dialect, reply: Reply, usage: bool, exchange: Exchange) -> None:
        send = exchange.send
        await start_events(send)
        half = len(reply.tokens) // 2 if exchange.fault is not None else -1
        step_s = 1 / self.behaviour.decode_tokens_per_s
        loop = asyncio.get_running_loop()
        due_s = loop.time()
        for index, event in enumerate(dialect.events(reply, usage)):
            if index == half and exchange.fault is not None:
                await mid_reply(exchange.fault, exchange.scope, exchange.receive, send)
            await send({"type": "http.response.body", "body": event, "more_body": True})
            due_s += step_s
            await asyncio.sleep(due_s - loop.time() if step_s else 0)
        await send({"type": "http.response.body", "body": b""})


def _wants_usage(body: Body) -> bool:
    options = body.get("stream_options")
    return isinstance(options, dict) and bool(options.get("include_usage"))
