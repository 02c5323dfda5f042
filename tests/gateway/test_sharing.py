"""What one gateway has learned, another one knows from its start on."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from engines.simulated import Behaviour
from gateway import sharing
from gateway.errors import StoreUnavailable
from gateway.estimate.estimators import Estimators
from gateway.estimate.service import ServiceTimes
from gateway.sharing import MAX_BLOB_BYTES, Sharing
from tests.gateway.conftest import run_rig


async def test_what_was_learned_survives_a_restart(redis_url: str) -> None:
    async with run_rig([Behaviour()], store__url=redis_url) as host:
        urls = host.worker_urls
        async with run_rig([], worker_urls=urls, store__url=redis_url) as rig:
            for number in range(4):
                for step, more in (("plan", {}), ("write", {"x-workflow-final": "1"})):
                    headers = {"x-workflow-session": f"s{number}", "x-workflow-name": "p", "x-workflow-step": step}
                    await rig.chat("hello", headers={**headers, **more}, max_tokens=7)
            await rig.until_idle()
            learned = rig.gateway.estimators.lengths.forecast("simulated", "p", "write")
        async with run_rig([], worker_urls=urls, store__url=redis_url) as again:
            known = again.gateway.estimators
            await again.until(lambda: known.programs.works() and not known.service.is_new("w0"))
            assert known.lengths.forecast("simulated", "p", "write") == learned != 128
            left = known.programs.ready("r", ("default", "p"), "plan", arrived_s=0.0, now_s=0.0).left
            assert left is not None
            assert left.seconds > 0
        assert host.gateway.estimators.programs.works() == {}


class Refusing:
    """A store that is down."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    async def write(self, blobs: object) -> None:
        raise StoreUnavailable("down")

    async def read(self) -> dict[str, list[bytes]]:
        self.asked.set()
        raise StoreUnavailable("down")


async def test_a_store_that_is_down_stops_nothing() -> None:
    store, known = Refusing(), Estimators(ServiceTimes())
    known.lengths.observe("m", None, None, 5)
    task = asyncio.create_task(Sharing(store, known).keep())
    async with asyncio.timeout(5):
        await store.asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


class Blobs:
    """A store that takes everything."""

    def __init__(self) -> None:
        self.blobs: Mapping[str, bytes] = {}

    async def write(self, blobs: Mapping[str, bytes]) -> None:
        self.blobs = blobs

    async def read(self) -> dict[str, list[bytes]]:
        return {}


async def test_a_subject_that_is_too_long_is_left_out_and_named_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    learned = {"model/long": bytes(MAX_BLOB_BYTES + 1), "model/short": bytes(MAX_BLOB_BYTES)}
    monkeypatch.setattr(sharing, "dump", lambda known: iter(learned.items()))
    store = Blobs()
    shared = Sharing(store, Estimators(ServiceTimes()))
    for _ in range(2):
        await shared.write()
    assert list(store.blobs) == ["model/short"]
    assert [vars(record)["subject"] for record in caplog.records] == ["model/long"]


class Odd:
    """A store in which somebody else wrote something."""

    async def write(self, blobs: object) -> None:
        raise AssertionError("nothing was learned")

    async def read(self) -> dict[str, list[bytes]]:
        return {"model/m": [b"?"], "elsewhere": [b""], "worker/w": [b"\x92\xc0\xc0"]}


async def test_what_makes_no_sense_is_passed_over() -> None:
    known = Estimators(ServiceTimes())
    shared = Sharing(Odd(), known)
    await shared.read()
    await shared.write()
    assert known.tokens.accuracies() == {}
