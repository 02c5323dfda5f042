"""Calls mapped over a list: one call for each item, begun as soon as the item is there.

The map itself is sent to no worker. In the order it happens: (1) it waits for its other inputs; (2) each item of
the list gets a call of its own through the scheduler, whose outputs are items of the map's; (3) once all have
ended, the lists are committed, and the replies become one. What fails ends the whole map: its lists could never be
whole.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from functools import partial
from itertools import count

from starlette.types import Send

from engines.base import RawHeaders
from gateway.call import Call
from gateway.dataflow.errors import UpstreamFailed
from gateway.dataflow.flow import Dataflow
from gateway.dataflow.kept_replies import KeptReplies
from gateway.dataflow.parking import Parking
from gateway.errors import LoomgateError, TooLarge, WorkerFailed
from gateway.replies.collected import Collected
from gateway.store.variable import Cause, StoredValue
from gateway.variables.mapped_reply import mapped_reply
from gateway.variables.plan import Filling, Plan
from gateway.variables.transforms import list_items, list_value
from gateway.variables.values import TransformFailed
from hints.model import Mode, Output

QUICK_CHARS = 16_384
"""A list this long is read in some ten milliseconds at most."""
Run = Callable[[Call, RawHeaders, Send], Awaitable[None]]
"""Runs one call to its end. Raises: LoomgateError."""
Derive = Callable[[Call, str, tuple[Output, ...]], Call]
"""A call like another, under an id of its own, with these outputs."""
Waiting = asyncio.Task[Mapping[str, StoredValue]]


class Maps:
    """Runs mapped calls. Each item runs in a task that its map owns."""

    def __init__(self, parking: Parking, dataflow: Dataflow, derive: Derive, kept: KeptReplies) -> None:
        """`kept` are the replies of deferred maps' items."""
        self.limit_items = 500
        self.limit_bytes = 64 << 20
        """Of all replies of a deferred map."""
        self._kept = kept
        self._parking = parking
        self._dataflow = dataflow
        self._derive = derive

    async def run(self, call: Call, plan: Plan, client: RawHeaders, run: Run) -> bytes:
        """Run a map to its end: the body of its reply. Raises: LoomgateError."""
        tasks: list[asyncio.Task[tuple[Call, bytes]]] = []
        try:
            async with asyncio.TaskGroup() as group, contextlib.aclosing(self._items(call, plan)) as items:
                async for item in items:
                    work = self._run_item(call, plan, len(tasks), item, client=client, run=run)
                    tasks.append(group.create_task(work, name=f"item {len(tasks)} of {call.call_id}"))
        except BaseExceptionGroup as group_error:
            raise _first(group_error) from None
        done = [task.result() for task in tasks]
        if call.hint.mode is Mode.DEFERRED and sum(len(body) for _, body in done) > self.limit_bytes:
            raise TooLarge("The replies of the map are over [limits] reply_bytes.", code="map_too_large")
        await self._commit(call, plan, [item for item, _ in done])
        shape, created = call.request.route.shape, int(call.arrived_at)
        return mapped_reply(call.call_id, call.ready.model, created, shape, [body for _, body in done])

    async def _run_item(
        self, call: Call, plan: Plan, index: int, value: Filling, *, client: RawHeaders, run: Run
    ) -> tuple[Call, bytes]:
        """The call of one item, and its reply. Raises: LoomgateError."""
        own = plan.of_item(call.call_id, index, value)
        item = self._derive(call, f"{call.call_id}.{index}", tuple(Output(name) for name in own.names))
        item.plan = own
        if call.hint.mode is Mode.DEFERRED:
            return item, await self._run_kept(call, item, index, own, resumed=plan.resumed, client=client, run=run)
        return item, await self._run_once(item, index, own, client, run)

    async def _run_once(self, item: Call, index: int, own: Plan, client: RawHeaders, run: Run) -> bytes:
        """The reply of one item, its values committed. Raises: LoomgateError."""
        self._dataflow.fill_item(item, own)
        collected = Collected()
        await run(item, client, collected.send)
        if collected.status != 200 or not collected.is_complete:
            raise _failed(index, item, collected)
        return collected.body

    async def _run_kept(
        self, call: Call, item: Call, index: int, own: Plan, *, resumed: bool, client: RawHeaders, run: Run
    ) -> bytes:
        """The same for a deferred map, which another attempt may have come as far with.

        What it produces is committed here, not by the relay, and is accepted for good. Raises: LoomgateError.
        """
        body = await self._kept.recall(call, item, own, index) if resumed else None
        if body is None:
            own.undone, own.awaited = False, True
            body = await self._run_once(item, index, own, client, run)
            body = await self._kept.keep(call, item, own, index, body)
        return body

    async def _commit(self, call: Call, plan: Plan, items: list[Call]) -> None:
        """Commit the lists, unless an item gave no value: then they have failed already."""
        given = [item.plan.committed for item in items if item.plan is not None and item.plan.committed is not None]
        notes = dict.fromkeys(note for item in items if item.notes for note in item.notes.split(", "))
        call.note(*list(notes)[:8])
        if len(given) < len(items):
            plan.undone = False
            return
        lists = {
            producer.name: list_value([values[f"{producer.name}.{at}"] for at, values in enumerate(given)])
            for producer in plan.producers
        }
        await self._dataflow.commit_lists(call, plan, lists)

    async def _items(self, call: Call, plan: Plan) -> AsyncGenerator[Filling, None]:
        """The items in order, each as soon as it is there. Raises: UpstreamFailed, TooLarge, QueueFull."""
        name = plan.over or ""
        waiting = [whole := self._wait(call, plan, name)]
        try:
            for index in count():
                waiting.append(item := self._wait(call, plan, f"{name}.{index}"))
                await asyncio.wait((whole, item), return_when=asyncio.FIRST_COMPLETED)
                if not whole.done() and item.exception() is None:
                    self._check_limit(index + 1, name)
                    yield item.result()[f"{name}.{index}"]
                    del waiting[1:]
                    continue
                await asyncio.wait((whole,))
                for value in (await self._rest(name, whole.result()[name].text))[index:]:
                    yield value
                return
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

    def _wait(self, call: Call, plan: Plan, name: str) -> Waiting:
        within_s = min(self._dataflow.input_s, call.hint.read_timeout_s or self._dataflow.input_s)
        session, reserved = call.hint.session or "", plan.awaited
        work = self._parking.wait(call.tenant, session, (name,), (), within_s=within_s, reserved=reserved)
        return asyncio.create_task(work, name=f"wait for {name}")

    async def _rest(self, name: str, text: str) -> list[Filling]:
        """The items of the whole list; of a long one by a thread. Raises: UpstreamFailed, TooLarge."""
        read = partial(list_items, name, text, self.limit_items)
        try:
            items: list[Filling] = [*(read() if len(text) <= QUICK_CHARS else await asyncio.to_thread(read))]
        except TransformFailed as error:
            raise UpstreamFailed(f"{name} is no list: {error.reason}", name, Cause(()), code="not_a_list") from None
        self._check_limit(len(items), name)
        return items

    def _check_limit(self, items: int, name: str) -> None:
        if items > self.limit_items:
            raise TooLarge(
                f"{name} has more than {self.limit_items} items ([limits] map_items).", code="map_too_large"
            )


def _failed(index: int, item: Call, collected: Collected) -> LoomgateError:
    said = collected.body[:500].decode("utf-8", "replace")
    return WorkerFailed(
        f"Item {index} (call {item.call_id}) failed with status {collected.status}, and the map with it: {said}",
        code="map_failed",
        should_retry=False,
    )


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error to answer with: what the first item failed of."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
