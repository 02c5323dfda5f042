"""Answers of the store that never come, of requests that took effect: nothing is left declared for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from engines.simulated import Behaviour
from gateway.detached import deferred
from gateway.errors import StoreUnavailable
from gateway.store import deferred as stored
from gateway.store.direct import Command
from gateway.store.variable_scripts import DECLARE
from tests.chaos.conftest import RedisProcess
from tests.gateway.conftest import run_rig

PRODUCER = {"x-workflow-session": "s", "x-workflow-outputs": "plan"}
CONSUMER = {"x-workflow-session": "s", "x-workflow-inputs": "plan"}
DEFERRED = PRODUCER | {"x-workflow-mode": "deferred"}


async def test_a_declaration_whose_answer_was_lost_stands_in_nobodys_way(
    own_redis: RedisProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with run_rig([Behaviour()], store__url=own_redis.url) as rig:
        first = await rig.chat("make a plan", headers=PRODUCER | {"x-workflow-session": "first"})
        assert first.status_code == 200, "the server knows the script from here on"
        link = rig.gateway.store._link
        execute = link.execute

        async def answer_lost(commands: Sequence[Command]) -> list[object]:
            replies = await execute(commands)
            if any(DECLARE.sha in command for command in commands):
                raise RedisConnectionError("lost")
            return replies

        with monkeypatch.context() as broken:
            broken.setattr(link, "execute", answer_lost)
            lost = await rig.chat("make a plan", headers=PRODUCER)
        assert lost.status_code == 503
        async with asyncio.timeout(10):
            again = await rig.chat("make a plan", headers=PRODUCER)
            reader = await rig.chat("{{plan}}", headers=CONSUMER)
        assert (again.status_code, reader.status_code) == (200, 200)


async def test_a_deferred_call_that_was_not_accepted_after_all_fails_what_it_was_to_produce(
    own_redis: RedisProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store had written it down and lost the answer: it is run by nobody, and nobody waits for it."""
    async with run_rig([Behaviour()], store__url=own_redis.url) as rig:
        store = rig.gateway.deferred._store

        async def lost(names: object, *, take: int = 0) -> stored.Holding:
            raise StoreUnavailable("no answer")

        with monkeypatch.context() as broken:
            broken.setattr(store, "hold", lost)
            refused = await rig.chat("make a plan", headers=DEFERRED)
        assert refused.status_code == 503
        async with asyncio.timeout(10):
            again = await rig.chat("make a plan", headers=PRODUCER)
        assert again.status_code == 200
        await rig.until(lambda: not rig.gateway.deferred._withdrawing)
        seen = await rig.gateway.sessions.view("default", "s")
        assert seen is not None
        assert not seen.deferred


async def test_who_knows_no_worker_yet_takes_no_deferred_call_over(
    own_redis: RedisProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gateway is up long before its engines: it knows no model until then, and would end each call with a 404."""
    monkeypatch.setattr(stored, "LEASE_MS", 300)
    monkeypatch.setattr(deferred, "HOLD_EVERY_S", 0.05)
    slow = Behaviour(decode_tokens_per_s=1, output_tokens=50)
    async with run_rig([slow], store__url=own_redis.url) as first:
        accepted = await first.chat("make a plan", headers=DEFERRED)
        assert accepted.status_code == 202
        await first.until(lambda: first.workers[0].compute.running)
    async with run_rig([Behaviour()], store__url=own_redis.url) as second:
        (worker,) = second.gateway.fleet
        second.gateway.fleet.drain(worker.name)
        takes: list[int] = []
        hold = second.gateway.deferred._store.hold

        async def watched(names: Iterable[str], *, take: int) -> stored.Holding:
            takes.append(take)
            return await hold(names, take=take)

        monkeypatch.setattr(second.gateway.deferred._store, "hold", watched)
        await second.until(lambda: len(takes) > 3)
        assert not any(takes)
