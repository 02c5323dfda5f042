"""A session's variables from outside: read, waited for, set, and all of it cancelled."""

from __future__ import annotations

from itertools import takewhile
from typing import Protocol

from gateway.control.variable_documents import VariableDocuments
from gateway.dataflow.errors import failure, refused_error, taken_error
from gateway.dataflow.owners import Owners
from gateway.dataflow.parking import Parking
from gateway.store.variable import Refused, State, StoredValue, Taken, Variable
from gateway.store.variables import Variables


class SessionCalls(Protocol):
    """The calls of all replicas. Raises: StoreUnavailable."""

    async def cancel(self, tenant: str, session: str) -> int:
        """End those of a session; how many are known of here."""


class VariableAccess:
    """What the routes of variables do. Raises any LoomgateError, StoreUnavailable above all."""

    def __init__(self, variables: Variables, parking: Parking, calls: SessionCalls, owners: Owners) -> None:
        self._bury = owners.bury
        self._variables = variables
        self._parking = parking
        self._calls = calls
        self._documents = VariableDocuments()

    async def read(self, tenant: str, session: str, name: str, wait_s: float) -> Variable:
        """A variable as it stands, its value too; waits for one up to `wait_s` seconds.

        Raises: UpstreamFailed (it failed, or has no value by then), QueueFull.
        """
        variable = await self._read(tenant, session, name)
        if wait_s > 0 and variable.state in (State.UNKNOWN, State.DECLARED):
            held = await self._parking.wait(tenant, session, (name,), (), within_s=wait_s)
            variable = await self._read(tenant, session, name)
            del held  # until here, so that all who waited for the value read this copy
        if variable.state in (State.FAILED, State.PAST_END):
            raise failure(variable)
        return variable

    def document(self, tenant: str, session: str, variable: Variable) -> bytes:
        """A variable as JSON."""
        return self._documents.of(tenant, session, variable)

    async def items(self, tenant: str, session: str, name: str, start: int, at_most: int) -> list[Variable]:
        """The items of a list from `start` on, as far as they have values."""
        names = [f"{name}.{index}" for index in range(start, start + at_most)]
        found = await self._variables.read(tenant, session, names, with_values=True)
        return list(takewhile(lambda item: item.value is not None, (found[name] for name in names)))

    async def put(self, tenant: str, session: str, name: str, text: str, kind: str) -> None:
        """Set a variable, once. Raises: Conflict, TooLarge, BadRequest."""
        value = StoredValue(text, kind)
        answer = await self._variables.put(tenant, session, name, value)
        holder = {answer.call_id: answer.owner} if isinstance(answer, Taken) else {}
        if holder and await self._bury(tenant, session, holder, at_once=True):
            answer = await self._variables.put(tenant, session, name, value)
        if isinstance(answer, Taken):
            raise taken_error(answer)
        if isinstance(answer, Refused):
            raise refused_error(answer)
        self._parking.changed(tenant, session)

    async def cancel(self, tenant: str, session: str) -> int:
        """Fail every variable without a value and end the session's calls, on all replicas; how many were found."""
        producers = await self._variables.cancel_session(tenant, session)
        ended = await self._calls.cancel(tenant, session)
        self._parking.changed(tenant, session)
        return max(len(producers), ended)

    async def _read(self, tenant: str, session: str, name: str) -> Variable:
        found = await self._parking.read(tenant, session, name)
        if found.state is State.DECLARED and await self._bury(tenant, session, {found.call_id: found.owner}):
            found = await self._parking.read(tenant, session, name)
        return found
