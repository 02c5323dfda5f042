"""One vLLM worker, or any other OpenAI-compatible server: what it serves, what it takes, how busy it is.

Only `/v1/models` must exist; a route that is missing means that nothing is known of what it would tell.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson

from engines.base import BadReply, Capabilities, EngineError, Filled, KvSource, RawHeaders, WorkerInfo, WorkerLoad
from engines.filling import fill_fields, filled
from engines.http import HttpClient
from engines.http_pool import PoolLimits
from engines.kv_events import sources
from engines.prometheus import labels_of, samples

ANSWER_S = 10.0
"""How long control routes may take."""
GENERATE_S = 60.0
"""How long the probe's one-token completion may take."""
HEALTH_S = 2.0
PAGE_LIMIT_BYTES = 16 << 20
SESSION_ID_SINCE = (0, 32)
CACHE_SALT_SINCE = (0, 9)
FIRST_IN_QUEUE = -(2**62)
"""The probe's `priority`: where it counts it goes ahead of every call."""


class VllmWorker:
    """The `Engine` of one worker."""

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        connect_s: float = 5.0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`url` may have a path prefix, and may end in `/v1`. Raises: ValueError."""
        headers = [(b"authorization", f"Bearer {api_key}".encode())] if api_key else []
        self.http = HttpClient(url, headers=headers, limits=PoolLimits(connect_s=connect_s), tls=tls)
        self.send = self.http.send
        """See `Engine.send`."""

    async def probe(self) -> WorkerInfo:
        """See `Engine.probe`. Of a vLLM it asks one generated token. Raises: EngineError."""
        cards = await self._model_cards()
        lengths = [card["max_model_len"] for card in cards if isinstance(card.get("max_model_len"), int)]
        info = WorkerInfo(
            models=tuple(str(card["id"]) for card in cards),
            max_model_len=min(lengths, default=None),
            model_cards=cards,
        )
        page = await self._get("/metrics")
        if page is None or b"\nvllm:" not in b"\n" + page:
            return info
        info = _with_cache(info, page)
        kv_sources = await self._kv_sources()
        known = await self._capabilities(info, None if kv_sources is None else bool(kv_sources))
        return replace(info, capabilities=known, kv_sources=kv_sources or ())

    async def fill(
        self, target: str, headers: RawHeaders, fields: Mapping[str, Any], *, ends_inside: bool, within_s: float
    ) -> Filled | None:
        """See `Engine.fill`. Raises: EngineError."""
        body = fill_fields(target, fields, ends_inside=ends_inside)
        if body is None:
            return None
        response = await self.send(
            "POST", target, headers, orjson.dumps(body), first_byte_s=within_s, idle_s=within_s
        )
        reply = await response.read_all(PAGE_LIMIT_BYTES)
        return filled(_object(reply)) if response.status == 200 else None

    async def load(self) -> WorkerLoad | None:
        """See `Engine.load`. Raises: EngineError."""
        page = await self._get("/metrics")
        return None if page is None else read_load(page)

    async def healthy(self) -> bool:
        """See `Engine.healthy`. Never raises."""
        try:
            async with asyncio.timeout(HEALTH_S):
                status, _ = await self._ask("GET", "/health", b"", HEALTH_S)
                if status == 404:
                    status, _ = await self._ask("GET", "/v1/models", b"", HEALTH_S)
                return status == 200
        except (EngineError, TimeoutError):
            return False

    async def close(self) -> None:
        """See `Engine.close`."""
        await self.http.close()

    async def _model_cards(self) -> tuple[dict[str, Any], ...]:
        status, body = await self._ask("GET", "/v1/models", b"", ANSWER_S)
        cards = _object(body).get("data")
        if status != 200 or not isinstance(cards, list):
            raise BadReply(f"GET /v1/models answered {status}, and no list of models")
        return tuple(card for card in cards if isinstance(card, dict) and card.get("id"))

    async def _capabilities(self, info: WorkerInfo, kv_events: bool | None) -> Capabilities:
        version = _object(await self._get("/version") or b"").get("version")
        known = replace(
            info.capabilities,
            version=version if isinstance(version, str) else None,
            kv_events=kv_events,
            session_id=_release(version) >= SESSION_ID_SINCE,
            cache_salt=_release(version) >= CACHE_SALT_SINCE,
        )
        if not info.models:
            return known
        usage = await self._one_token(info.models[0], {"priority": FIRST_IN_QUEUE})
        priority = usage is not None
        if usage is None:
            usage = await self._one_token(info.models[0], {})
        details = usage is not None and isinstance(usage.get("prompt_tokens_details"), dict)
        return replace(known, priority=priority, prompt_tokens_details=details)

    async def _one_token(self, model: str, fields: dict[str, Any]) -> dict[str, Any] | None:
        """The usage of the smallest completion; None if it is refused (a pooling model, or the field)."""
        request = {"model": model, "prompt": "a", "max_tokens": 1, **fields}
        status, body = await self._ask("POST", "/v1/completions", orjson.dumps(request), GENERATE_S)
        if status >= 500:
            raise BadReply(f"a one-token completion answered {status}")
        usage = _object(body).get("usage") if status == 200 else None
        return usage if isinstance(usage, dict) else None

    async def _kv_sources(self) -> tuple[KvSource, ...] | None:
        """Where KV events are published, empty if they are not; None if it does not tell."""
        page = await self._get("/kv_event_sources")
        return None if page is None else sources(_object(page), self.http.origin.host)

    async def _get(self, target: str) -> bytes | None:
        """The body of a control route; None unless it answers 200. Raises: EngineError."""
        status, body = await self._ask("GET", target, b"", ANSWER_S)
        return body if status == 200 else None

    async def _ask(self, method: str, target: str, body: bytes, limit_s: float) -> tuple[int, bytes]:
        headers = [(b"content-type", b"application/json")] if body else []
        response = await self.send(method, target, headers, body, first_byte_s=limit_s, idle_s=limit_s)
        return response.status, await response.read_all(PAGE_LIMIT_BYTES)


def read_load(page: bytes) -> WorkerLoad | None:
    """The load in a `/metrics` page, summed over its engines (KV usage: their mean); None if there is none."""
    if b"vllm:num_requests_running" not in page:
        return None
    usage = [value for _, value in samples(page, b"vllm:kv_cache_usage_perc")]
    return WorkerLoad(
        running=_total(page, b"vllm:num_requests_running"),
        waiting=_total(page, b"vllm:num_requests_waiting"),
        kv_usage=sum(usage) / len(usage) if usage else 0.0,
        prefix_queries_tokens=_total(page, b"vllm:prefix_cache_queries_total"),
        prefix_hits_tokens=_total(page, b"vllm:prefix_cache_hits_total"),
        preemptions=_total(page, b"vllm:num_preemptions_total"),
    )


def _total(page: bytes, name: bytes) -> int:
    return int(sum(value for _, value in samples(page, name)))


def _with_cache(info: WorkerInfo, page: bytes) -> WorkerInfo:
    """What `vllm:cache_config_info` says: one series for each data-parallel engine."""
    configs = [labels_of(labels) for labels, _ in samples(page, b"vllm:cache_config_info")]
    sizes = [(_integer(c.get("num_gpu_blocks")), _integer(c.get("block_size"))) for c in configs]
    capacity = sum(blocks * size for blocks, size in sizes if blocks and size)
    caching = bool(configs) and all(c.get("enable_prefix_caching") == "True" for c in configs)
    return replace(
        info,
        kv_capacity_tokens=capacity or None,
        block_size=next((size for _, size in sizes if size), None),
        capabilities=replace(info.capabilities, prefix_caching=caching),
    )


def _integer(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() else None


def _release(version: object) -> tuple[int, int]:
    match = re.match(r"v?(\d+)\.(\d+)", version) if isinstance(version, str) else None
    return (int(match[1]), int(match[2])) if match else (0, 0)


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}
