"""`Workflow`: one name for both kinds of client."""

from __future__ import annotations

from typing import cast, overload

from loomgate.asynchronous import AsyncWorkflow
from loomgate.clients import AsyncClient, SyncClient
from loomgate.synchronous import SyncWorkflow


@overload
def Workflow(
    client: AsyncClient,
    name: str | None = None,
    session: str | None = None,
    *,
    model: str | None = None,
    deferred: bool | None = None,
) -> AsyncWorkflow: ...


@overload
def Workflow(
    client: SyncClient,
    name: str | None = None,
    session: str | None = None,
    *,
    model: str | None = None,
    deferred: bool | None = None,
) -> SyncWorkflow: ...


def Workflow(
    client: AsyncClient | SyncClient,
    name: str | None = None,
    session: str | None = None,
    *,
    model: str | None = None,
    deferred: bool | None = None,
) -> AsyncWorkflow | SyncWorkflow:
    """One run of a program through an unmodified OpenAI client: every call belongs to the same session.

    `session` None makes a new id. `model` is that of calls that name none. Calls that only other calls read are
    deferred where the gateway's store is durable: `deferred` says whether it is, None asks the gateway's `/ready`.

    As a context manager it ends with its block: it waits for its calls, and after an error it cancels the session.
    What ends the session for the gateway is a call with `final=True`. Raises: ValueError for a name or session that
    no header can carry.
    """
    if hasattr(client, "__aenter__"):
        return AsyncWorkflow(cast("AsyncClient", client), name, session, model, deferred)
    return SyncWorkflow(client, name, session, model, deferred)
