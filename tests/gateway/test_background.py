"""Work beside the hot path: as much as there is room for, and no word lost about the rest."""

from __future__ import annotations

import asyncio

import pytest

from gateway.background import MAX_TASKS, Background


async def test_what_does_not_fit_is_counted_and_told_now_and_then(caplog: pytest.LogCaptureFixture) -> None:
    background, go_on = Background(), asyncio.Event()
    for _ in range(MAX_TASKS):
        background.run("wait", go_on.wait())
    assert background.skipped == 0
    for _ in range(3):
        background.run("wait", go_on.wait())
    assert background.skipped == 3
    assert [(record.message, vars(record)["task"]) for record in caplog.records] == [("background_skipped", "wait")]
    go_on.set()
    await asyncio.sleep(0)
    await background.close()
