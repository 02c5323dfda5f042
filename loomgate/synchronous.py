"""`Workflow` over a sync client: a call is a thread of its own, its handle is asked for its reply."""

from __future__ import annotations

import contextlib
import threading
import time
from concurrent.futures import Future, wait
from concurrent.futures import TimeoutError as NotYet
from types import TracebackType
from typing import Any, Self

from loomgate import base
from loomgate.clients import SyncClient
from loomgate.declared import Declared, Variable
from loomgate.errors import InputFailed, missing_variable


class SyncCall(base.Handle):
    """One call. `result()` is the SDK's reply; as text, it is the placeholder of the variable that it produces."""

    def __init__(self, flow: SyncWorkflow, declared: Declared) -> None:
        super().__init__(declared)
        self.is_asked = False
        self.sending: Future[Any] = Future()
        self._flow = flow
        self._fetching = threading.Lock()
        self._fetched: Any = None

    def result(self) -> Any:
        """The reply; sends what was declared so far. Raises: InputFailed, and what the SDK raises."""
        self.is_asked = True
        self._flow.send()
        try:
            return self.outcome()
        except Exception as error:
            explained = self._flow.explained(self.declared, error)
            if explained is error:
                raise
            raise explained from explained.__cause__

    def text(self) -> str:
        """What the model said. Raises as `result` does."""
        return base.text_of(self.result())

    def outcome(self, within_s: float | None = None) -> Any:
        """The reply, fetched if it was deferred; errors are the SDK's."""
        if within_s is None:
            self._flow.watch(self)
        reply = self.sending.result(within_s)
        if not self.declared.is_deferred:
            return reply
        with self._fetching:
            if self._fetched is None:
                self._fetched = self._flow.fetch(self.declared, reply.id)
            return self._fetched


class SyncWorkflow(base.Flow[SyncCall]):
    """One run of a program over a sync client. See `Workflow`."""

    def __init__(
        self, client: SyncClient, name: str | None, session: str | None, model: str | None, deferred: bool | None
    ) -> None:
        super().__init__(name, session, model, deferred, client)
        self._client = client
        self._sending = threading.Lock()

    def _handle(self, declared: Declared) -> SyncCall:
        return SyncCall(self, declared)

    def put(self, name: str, value: object) -> Variable:
        """Set a variable, once: text as it is, anything else as JSON. Raises: what the SDK raises."""
        variable = self.variable(name)
        self._client.put(self._variable_path(name), **base.put_arguments(value))
        return variable

    def value(self, variable: Variable | SyncCall | str) -> str:
        """A variable's value as text, once it has one. Raises: what the SDK raises, a 424 if it never will."""
        self.send()
        found: str = self._client.get(self._variable_path(base.name_of(variable)), **base.value_arguments())
        return found

    def send(self) -> None:
        """Send every call declared so far that has not been sent, all at once, each in a thread of its own."""
        with self._sending:
            unsent = [call for call in list(self._calls.values()) if not call.declared.is_sent]
            is_durable = any(call.declared.may_defer for call in unsent) and self._is_durable()
            for call in unsent:
                request = self._request(call.declared, is_durable=is_durable)
                name = f"call {call.declared.default}"
                threading.Thread(target=self._perform, args=(call, request), name=name, daemon=True).start()

    def watch(self, call: SyncCall) -> None:
        """Wait for a call, and for those it reads: one that was refused was never declared, so nobody says 424.

        Raises: InputFailed.
        """
        feeding = {self._calls[each.number].sending for each in self._declarations.producers(call.declared)}
        while not call.sending.done():
            done = wait({call.sending, *feeding}, return_when="FIRST_COMPLETED").done
            feeding -= done
            failed = [future for future in done if future is not call.sending and future.exception()]
            if failed and wait({call.sending}, base.CAUSE_S).not_done:
                raise base.never_declared(call.declared) from failed[0].exception()

    def fetch(self, declared: Declared, call_id: str) -> Any:
        """The reply of a deferred call. Raises: what the SDK raises, for its outcome too."""
        path = self._variable_path(declared.names[0])
        while True:
            with contextlib.suppress(Exception):  # a failed call's own reply, below, says more
                self._client.get(path, **base.value_arguments())
            for pause_s in base.ASK_AGAIN_S:
                reply = self._client.chat.completions.retrieve(call_id)
                if reply.choices:
                    return reply
                time.sleep(pause_s)

    def explained(self, declared: Declared, error: Exception) -> Exception:
        """The error; where it says that an input failed, InputFailed with the producer's failure as its cause."""
        name = missing_variable(error)
        if name is None or name in declared.names:
            return error
        failed = InputFailed(declared.step, name, str(error))
        failed.__cause__ = self._failure_of(name) or error
        return failed

    def _failure_of(self, name: str) -> Exception | None:
        producer = self._declarations.producer(name)
        call = None if producer is None else self._calls.get(producer.number)
        if call is None:
            return None
        try:
            call.outcome(base.CAUSE_S)
        except NotYet:
            return None
        except Exception as error:
            return self.explained(call.declared, error)
        return None

    def _perform(self, call: SyncCall, request: dict[str, Any]) -> None:
        try:
            call.sending.set_result(self._client.chat.completions.create(**request))
        except BaseException as error:
            call.sending.set_exception(error)

    def _is_durable(self) -> bool:
        if self._durable is None:
            try:
                self._durable = base.says_durable(self._client.get(self._ready_url(), cast_to=str))
            except Exception:  # whatever the client raises: then nothing is deferred
                self._durable = False
        return self._durable

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Send what is left and wait for what was not deferred; after an error cancel the session."""
        self._over = True
        if error is not None:
            self._abandon()
            return
        try:
            self.send()
            self._settled()
        except BaseException:
            self._abandon()
            raise

    def _settled(self) -> None:
        """Raises: the first failure that nobody has asked for, as asking for it does."""
        pending = {call.sending for call in self._calls.values()}
        while pending:
            pending = wait(pending, return_when="FIRST_EXCEPTION").not_done
            for call in self._calls.values():
                if call.sending.done() and call.sending.exception() is not None and not call.is_asked:
                    call.result()

    def _abandon(self) -> None:
        """Tell the gateway: it ends the calls, and with them their threads. Unsent ones never are."""
        live = [call for call in self._calls.values() if call.declared.is_deferred or not _ended_well(call.sending)]
        if any(call.declared.is_sent for call in live):
            with contextlib.suppress(Exception):  # the error that ended the block is the one to be raised
                options = {"timeout": base.CANCEL_S, "max_retries": 0}
                self._client.post(self._session_path("cancel"), cast_to=str, options=options)


def _ended_well(sending: Future[Any]) -> bool:
    return sending.done() and sending.exception() is None
