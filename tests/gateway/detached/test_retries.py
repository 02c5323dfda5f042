"""The leases of keys: renewed for every call that holds one, however many there are."""

from __future__ import annotations

import asyncio
import logging
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gateway.background import MAX_TASKS, Background
from gateway.detached import retries
from gateway.detached.claims import Claims
from gateway.detached.named import Named
from gateway.detached.orphans import Orphans
from gateway.detached.retries import Retries
from gateway.errors import StoreUnavailable
from gateway.store.retries import RetryName
from tests.gateway.calls import arrived_call


class FakeClaims:
    """Every key is free; it counts who renews."""

    def __init__(self) -> None:
        self.renewed: list[str] = []
        self.broken: dict[str, Exception] = {}

    async def take(self, found: Named) -> None:
        found.claimed = True

    async def renew(self, found: Named) -> None:
        self.renewed.append(found.name.key)
        if found.name.key in self.broken:
            raise self.broken[found.name.key]

    async def finish(self, *_: object) -> None:
        pass


async def test_every_running_call_keeps_its_key(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(retries, "RENEW_EVERY_S", 0.0)
    claims, over = FakeClaims(), asyncio.Event()
    kept = Retries(cast(Claims, claims), cast(Orphans, SimpleNamespace(left=None)), Background(), 1 << 20)
    names = [f"key-{number}" for number in range(2 * MAX_TASKS)]
    claims.broken = {names[0]: StoreUnavailable("away"), names[1]: ValueError("a bug")}

    async def run(send: Any) -> None:
        await over.wait()

    calls = [
        asyncio.create_task(
            kept.serve(RetryName("t", name, "f"), arrived_call(), cast(Any, None), lambda left: None, run)
        )
        for name in names
    ]
    async with asyncio.timeout(10):
        while kept.held < len(names):
            await asyncio.sleep(0)
    with caplog.at_level(logging.ERROR):
        keeping = asyncio.create_task(kept.keep())
        async with asyncio.timeout(10):
            while len(claims.renewed) < 2 * len(names):
                await asyncio.sleep(0)
        keeping.cancel()
    assert set(claims.renewed) == set(names)
    assert [record.message for record in caplog.records] == ["renewal_failed"] * len(caplog.records)
    over.set()
    await asyncio.gather(*calls)
    claims.renewed.clear()
    await kept._renew_all()
    assert not claims.renewed, "the key of a call that has ended is not taken again"
