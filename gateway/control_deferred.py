"""The reply of a deferred call, where the OpenAI SDK's `retrieve` looks for it."""

from __future__ import annotations

from typing import Protocol

from fastapi import APIRouter
from fastapi.responses import Response

from gateway.control import CallId, Tenant
from gateway.deferred import pending_body
from gateway.errors import NotFound
from gateway.store.deferred import DeferredReply


class Replies(Protocol):
    """Where outcomes are kept. Raises: StoreUnavailable."""

    async def read(self, tenant: str, call_id: str) -> tuple[str, DeferredReply | None] | None:
        """A deferred call's session and outcome, None while it has none; None if there is no such call."""


def deferred_routes(replies: Replies) -> APIRouter:
    """`GET /v1/chat/completions/{id}`: the reply as it would have come at once, 202 until there is one."""
    routes = APIRouter()

    @routes.get("/v1/chat/completions/{call_id}")
    async def reply(tenant: Tenant, call_id: CallId) -> Response:
        found = await replies.read(tenant, call_id)
        if found is None:
            raise NotFound(f"There is no deferred call {call_id!r}.", code="unknown_call")
        session, outcome = found
        headers = {"x-workflow-call": call_id, "x-workflow-session": session}
        if outcome is None:
            return Response(pending_body(call_id, "", 0), 202, headers, "application/json")
        return Response(outcome.body, outcome.status, headers, "application/json")

    return routes
