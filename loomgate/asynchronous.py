"""`Workflow` over an async client: a call is a task, its handle is awaited for its reply."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Generator
from types import TracebackType
from typing import Any, Self

from loomgate import base
from loomgate.clients import AsyncClient
from loomgate.declared import Declared, Variable
from loomgate.errors import InputFailed, missing_variable


class AsyncCall(base.Handle):
    """One call. Awaited, it is the SDK's reply; as text, the placeholder of the variable that it produces."""

    def __init__(self, flow: AsyncWorkflow, declared: Declared) -> None:
        super().__init__(declared)
        self.is_awaited = False
        self._flow = flow
        self.sending = asyncio.get_running_loop().create_task(flow.send(declared), name=f"call {declared.default}")
        self._fetching: asyncio.Task[Any] | None = None

    def __await__(self) -> Generator[Any, None, Any]:
        """The reply. Raises: InputFailed, and what the SDK raises."""
        return self._reply().__await__()

    async def text(self) -> str:
        """What the model said. Raises as awaiting it does."""
        return base.text_of(await self)

    async def _reply(self) -> Any:
        self.is_awaited = True
        try:
            return await self.outcome()
        except Exception as error:
            explained = await self._flow.explained(self.declared, error)
            if explained is error:
                raise
            raise explained from explained.__cause__

    async def outcome(self) -> Any:
        """The reply, fetched if it was deferred; errors are the SDK's. Being cancelled here ends no call."""
        reply = await asyncio.shield(self.sending)
        if not self.declared.is_deferred:
            return reply
        if self._fetching is None:
            self._fetching = asyncio.create_task(self._flow.fetch(self.declared, reply.id))
        return await asyncio.shield(self._fetching)

    def cancel(self) -> None:
        """End what is under way here."""
        for task in (self.sending, self._fetching):
            if task is not None:
                task.cancel()


class AsyncWorkflow(base.Flow[AsyncCall]):
    """One run of a program over an async client. See `Workflow`."""

    def __init__(
        self, client: AsyncClient, name: str | None, session: str | None, model: str | None, deferred: bool | None
    ) -> None:
        super().__init__(name, session, model, deferred, client)
        self._client = client
        self._asking: asyncio.Task[bool] | None = None

    def _handle(self, declared: Declared) -> AsyncCall:
        return AsyncCall(self, declared)

    async def put(self, name: str, value: object) -> Variable:
        """Set a variable, once: text as it is, anything else as JSON. Raises: what the SDK raises."""
        variable = self.variable(name)
        await self._client.put(self._variable_path(name), **base.put_arguments(value))
        return variable

    async def value(self, variable: Variable | AsyncCall | str) -> str:
        """A variable's value as text, once it has one. Raises: what the SDK raises, a 424 if it never will."""
        found: str = await self._client.get(self._variable_path(base.name_of(variable)), **base.value_arguments())
        return found

    async def send(self, declared: Declared) -> Any:
        """Send one call; its reply, or what a deferred one is answered with."""
        is_durable = declared.may_defer and await self._is_durable()
        request = self._request(declared, is_durable=is_durable)
        creating = asyncio.ensure_future(self._client.chat.completions.create(**request))
        try:
            await self._refused_producer(declared, creating)
            return await creating
        finally:
            creating.cancel()

    async def _refused_producer(self, declared: Declared, creating: asyncio.Future[Any]) -> None:
        """Watch those that a call reads until it ends: one that was refused was never declared, so nobody says 424.

        Raises: InputFailed.
        """
        feeding = {self._calls[each.number].sending for each in self._declarations.producers(declared)}
        while feeding and not creating.done():
            done, _ = await asyncio.wait({creating, *feeding}, return_when=asyncio.FIRST_COMPLETED)
            feeding -= done
            failed = [task for task in done if task is not creating and not task.cancelled() and task.exception()]
            if failed and not creating.done():
                await asyncio.wait({creating}, timeout=base.CAUSE_S)
            if failed and not creating.done():
                raise base.never_declared(declared) from failed[0].exception()

    async def fetch(self, declared: Declared, call_id: str) -> Any:
        """The reply of a deferred call. Raises: what the SDK raises, for its outcome too."""
        path = self._variable_path(declared.names[0])
        while True:
            with contextlib.suppress(Exception):  # a failed call's own reply, below, says more
                await self._client.get(path, **base.value_arguments())
            for pause_s in base.ASK_AGAIN_S:
                reply = await self._client.chat.completions.retrieve(call_id)
                if reply.choices:
                    return reply
                await asyncio.sleep(pause_s)

    async def explained(self, declared: Declared, error: Exception) -> Exception:
        """The error; where it says that an input failed, InputFailed with the producer's failure as its cause."""
        name = missing_variable(error)
        if name is None or name in declared.names:
            return error
        failed = InputFailed(declared.step, name, str(error))
        failed.__cause__ = await self._failure_of(name) or error
        return failed

    async def _failure_of(self, name: str) -> Exception | None:
        producer = self._declarations.producer(name)
        call = None if producer is None else self._calls.get(producer.number)
        if call is None:
            return None
        try:
            async with asyncio.timeout(base.CAUSE_S):
                await call.outcome()
        except TimeoutError:
            return None
        except Exception as error:
            return await self.explained(call.declared, error)
        return None

    async def _is_durable(self) -> bool:
        if self._durable is None:
            if self._asking is None:
                self._asking = asyncio.create_task(self._ask_durable())
            self._durable = await asyncio.shield(self._asking)
        return self._durable

    async def _ask_durable(self) -> bool:
        try:
            return base.says_durable(await self._client.get(self._ready_url(), cast_to=str))
        except Exception:  # whatever the client raises: then nothing is deferred
            return False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for what was not deferred; after an error, of a call or of the block, cancel the session."""
        self._over = True
        if error is not None:
            await self._abandon()
            return
        try:
            await self._settled()
        except BaseException:
            await self._abandon()
            raise

    async def _settled(self) -> None:
        """Raises: the first failure that nobody has awaited, as awaiting that call does."""
        pending = {call.sending for call in self._calls.values()}
        while pending:
            _, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_EXCEPTION)
            for call in self._calls.values():
                if call.sending.done() and call.sending.exception() is not None and not call.is_awaited:
                    await call

    async def _abandon(self) -> None:
        live = [call for call in self._calls.values() if call.declared.is_deferred or not _ended_well(call.sending)]
        for call in live:
            call.cancel()
        if any(call.declared.is_sent for call in live):
            with contextlib.suppress(Exception):  # the error that ended the block is the one to be raised
                async with asyncio.timeout(base.CANCEL_S):
                    await self._client.post(self._session_path("cancel"), cast_to=str)
        await asyncio.gather(*(call.sending for call in live), return_exceptions=True)


def _ended_well(sending: asyncio.Task[Any]) -> bool:
    return sending.done() and not sending.cancelled() and sending.exception() is None
