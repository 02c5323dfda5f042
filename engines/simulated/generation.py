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
from engines.simulated.driver import EngineDriver, Run
from engines.simulated.faults import MID_REPLY, Broken, instead_of_reply, mid_reply
from engines.simulated.http import JSON, Receive, Scope, Send, send_json, start_events
from engines.simulated.iteration import TooLong
from engines.simulated.naming import block_names
from engines.simulated.prompt import BadBody, Body, Prompt
from engines.simulated.reply import Dialect, Reply, answer, tool_offered
from engines.simulated.request import EngineRequest


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request's ASGI ends, and what shall go wrong with it."""

    scope: Scope
    receive: Receive
    send: Send
    fault: Fault | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """What one request asks for, and what it will be told: tokens, and whether a limit cut them."""

    dialect: Dialect
    body: Body
    prompt: Prompt
    said: tuple[tuple[str, ...], bool]
    priority: int


class Generator:
    """Generates replies, as many at a time as the worker has slots."""

    def __init__(self, behaviour: Behaviour, compute: Compute, engine: EngineDriver | None = None) -> None:
        """With an engine, its steps are the pace; without, the behaviour's speeds are."""
        self.behaviour = behaviour
        self._compute = compute
        self._engine = engine
        self._ids = count(1)

    @property
    def instant(self) -> bool:
        """Whether a reply takes no time just now."""
        b = self.behaviour
        unhurried = b.prefill_tokens_per_s == b.decode_tokens_per_s == UNLIMITED
        return self._engine is None and unhurried and self._compute.running < b.slots

    async def run(self, dialect: Dialect, body: Body, exchange: Exchange) -> None:
        """Answer one request. Raises: BadBody."""
        prompt = dialect.prompt(body)
        if prompt.tokens > self.behaviour.max_model_len:
            raise BadBody(f"This model's maximum context length is {self.behaviour.max_model_len} tokens.")
        priority = self._priority(body, exchange.scope)
        said = answer(self.behaviour, body, prompt)
        asked = Asked(dialect, body, prompt, said, priority)
        if self._engine is not None:
            return await self._run_steps(self._engine, asked, exchange)
        async with self._compute.slot(priority):
            if await self._is_spoiled(exchange):
                return None
            cached = await self._prefill(prompt)
            reply = self._reply(asked, cached=cached)
            try:
                if body.get("stream"):
                    await self._stream(asked, reply, exchange)
                else:
                    await self._whole(dialect, reply, exchange)
            except Broken:
                return None

    async def _run_steps(self, engine: EngineDriver, asked: Asked, exchange: Exchange) -> None:
        """The same at the pace of an engine's steps."""
        if await self._is_spoiled(exchange):
            return
        try:
            async with engine.run(self._request(engine, asked, exchange.scope)) as run:
                await run.until(1)
                reply = self._reply(asked, cached=run.cached_tokens)
                if asked.body.get("stream"):
                    await self._stream(asked, reply, exchange, run)
                else:
                    await run.until(reply.completion_tokens)
                    await self._whole(asked.dialect, reply, exchange, paced=True)
        except Broken:
            return
        except TooLong as error:
            raise BadBody(str(error)) from None

    async def _is_spoiled(self, exchange: Exchange) -> bool:
        """Commit a fault that comes instead of a reply; whether it was one."""
        fault = exchange.fault
        if fault is None or fault in MID_REPLY:
            return False
        limit_s = self.behaviour.slow_header_s
        await instead_of_reply(fault, exchange.scope, exchange.receive, exchange.send, limit_s)
        return True

    def _request(self, engine: EngineDriver, asked: Asked, scope: Scope) -> EngineRequest:
        output_tokens = max(1, len(asked.said[0]) + self.behaviour.reasoning_tokens)
        block_tokens = engine.model.limits.block_tokens
        session_id = asked.body.get("session_id") or dict(scope["headers"]).get(b"x-session-id", b"").decode()
        mode = (asked.body.get("vllm_xargs") or {}).get("kv_cache_report_mode")
        return EngineRequest(
            f"request-{next(self._ids)}",
            asked.prompt.tokens,
            output_tokens,
            block_names(asked.prompt, "".join(asked.said[0]), output_tokens, block_tokens),
            priority=asked.priority,
            session_id=session_id or None,
            is_reported_fully=mode == "full",
        )

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

    def _reply(self, asked: Asked, *, cached: int) -> Reply:
        b = self.behaviour
        return Reply(
            id=f"{asked.dialect.id_prefix}{next(self._ids)}",
            model=b.model,
            created=int(time.time()),
            tokens=asked.said[0],
            prompt_tokens=asked.prompt.tokens,
            cached_tokens=cached if b.prompt_tokens_details else None,
            reasoning=(REASONING,) * b.reasoning_tokens,
            tool=tool_offered(asked.body) if b.tool_calls else None,
            truncated=asked.said[1],
            choices=int(asked.body.get("n") or 1),
        )

    async def _whole(self, dialect: Dialect, reply: Reply, exchange: Exchange, *, paced: bool = False) -> None:
        if not paced and self.behaviour.decode_tokens_per_s != UNLIMITED:
            await asyncio.sleep(reply.completion_tokens / self.behaviour.decode_tokens_per_s)
        if exchange.fault is None or exchange.fault is Fault.GARBAGE_SSE:
            return await send_json(exchange.send, dialect.whole(reply))
        data = orjson.dumps(dialect.whole(reply))
        headers = [JSON, (b"content-length", b"%d" % len(data))]
        await exchange.send({"type": "http.response.start", "status": 200, "headers": headers})
        half = data[: len(data) // 2]
        await exchange.send({"type": "http.response.body", "body": half, "more_body": True})
        return await mid_reply(exchange.fault, exchange.scope, exchange.receive, exchange.send)

    async def _stream(self, asked: Asked, reply: Reply, exchange: Exchange, run: Run | None = None) -> None:
        send = exchange.send
        await start_events(send)
        half = len(reply.tokens) // 2 if exchange.fault is not None else -1
        step_s = 1 / self.behaviour.decode_tokens_per_s
        loop = asyncio.get_running_loop()
        due_s = loop.time()
        for index, event in enumerate(asked.dialect.events(reply, _wants_usage(asked.body))):
            if index == half and exchange.fault is not None:
                await mid_reply(exchange.fault, exchange.scope, exchange.receive, send)
            if run is not None:
                await run.until(index + 1 - asked.dialect.head_events)
            await send({"type": "http.response.body", "body": event, "more_body": True})
            if run is not None:
                continue
            due_s += step_s
            await asyncio.sleep(due_s - loop.time() if step_s else 0)
        await send({"type": "http.response.body", "body": b""})


def _wants_usage(body: Body) -> bool:
    options = body.get("stream_options")
    return isinstance(options, dict) and bool(options.get("include_usage"))
