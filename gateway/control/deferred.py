"""The replies of deferred calls, where the OpenAI SDK looks for them; a response may be cancelled there too."""

from __future__ import annotations

from typing import Protocol

from fastapi import APIRouter
from fastapi.responses import Response

from gateway.control.routes import CallId, Tenant
from gateway.detached.replies import RETRIEVED_AT, cancelled_body, pending_body, response_body
from gateway.errors import Conflict, NotFound
from gateway.store.deferred import Accepted, DeferredReply

Found = tuple[Accepted, DeferredReply | None]


class Replies(Protocol):
    """Where outcomes are kept. Raises: StoreUnavailable."""

    async def read(self, tenant: str, call_id: str) -> Found | None:
        """A deferred call and its outcome, None while it has none; None if there is no such call."""


class Sessions(Protocol):
    """What ends calls. Raises: StoreUnavailable."""

    async def cancel(self, tenant: str, session: str) -> int:
        """End what is left of a session; how many calls."""


def deferred_routes(replies: Replies, sessions: Sessions) -> APIRouter:
    """`GET <route>/{id}`: the reply as it would have come, 202 until there is one. Responses say their state."""
    routes = APIRouter()

    async def reply(tenant: Tenant, call_id: CallId) -> Response:
        accepted, outcome = await _found(replies, tenant, call_id)
        if outcome is None:
            return _json(accepted, pending_body(accepted, "in_progress"), 202)
        return _json(accepted, outcome.body, outcome.status)

    async def response(tenant: Tenant, call_id: CallId) -> Response:
        accepted, outcome = await _found_response(replies, tenant, call_id)
        if outcome is None:
            return _json(accepted, pending_body(accepted, "in_progress"))
        return _json(accepted, response_body(accepted, outcome))

    for route in RETRIEVED_AT:
        handler = response if route == "/v1/responses" else reply
        routes.add_api_route(route + "/{call_id}", handler, methods=["GET"], response_model=None)

    @routes.post("/v1/responses/{call_id}/cancel")
    async def cancel(tenant: Tenant, call_id: CallId) -> Response:
        accepted, outcome = await _found_response(replies, tenant, call_id)
        if outcome is not None:
            return _json(accepted, response_body(accepted, outcome))
        if accepted.session != call_id:
            raise Conflict(
                f"This response belongs to the session {accepted.session!r}: cancel that, by POST "
                f"/v1/workflow/sessions/{accepted.session}/cancel.",
                code="response_of_session",
            )
        await sessions.cancel(tenant, accepted.session)
        return _json(accepted, cancelled_body(accepted))

    return routes


async def _found(replies: Replies, tenant: str, call_id: str) -> Found:
    found = await replies.read(tenant, call_id)
    if found is None:
        raise NotFound(f"There is no deferred call {call_id!r}.", code="unknown_call")
    return found


async def _found_response(replies: Replies, tenant: str, call_id: str) -> Found:
    accepted, outcome = await _found(replies, tenant, call_id)
    if accepted.target != "/v1/responses":
        raise NotFound(
            f"{call_id!r} is no response; its reply is at {accepted.target}/{call_id}.", code="unknown_call"
        )
    return accepted, outcome


def _json(accepted: Accepted, body: bytes, status: int = 200) -> Response:
    headers = {"x-workflow-call": accepted.call_id, "x-workflow-session": accepted.session}
    return Response(body, status, headers, "application/json")
