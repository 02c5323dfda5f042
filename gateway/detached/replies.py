"""What is said of a deferred call on the wire: accepted, not done yet, done; in the shape of its route.

A response in the background (Responses API) is a deferred call too: an error is a response that failed, its id is
the call's. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from gateway.store.deferred import Accepted, DeferredReply

_RESPONSE = "/v1/responses"
_CREATED = ("chat.completion", "text_completion")
_SHAPES: Mapping[str, dict[str, Any]] = {
    "/v1/chat/completions": {"object": "chat.completion", "choices": []},
    "/v1/completions": {"object": "text_completion", "choices": []},
    "/v1/embeddings": {"object": "list", "data": []},
    "/v1/messages": {"type": "message", "role": "assistant", "content": [], "stop_reason": None},
    _RESPONSE: {
        "object": "response",
        "output": [],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
    },
}
RETRIEVED_AT = tuple(_SHAPES)
"""Routes whose deferred replies are found at `<route>/<call id>`."""


def location(accepted: Accepted) -> str:
    """Where the reply will be found."""
    route = accepted.target if accepted.target in _SHAPES else RETRIEVED_AT[0]
    return f"{route}/{accepted.call_id}"


def pending_body(accepted: Accepted, status: str) -> bytes:
    """A deferred call without a reply, in the shape of one. `status` is a response's: queued or in_progress."""
    if accepted.target == _RESPONSE:
        return _response(accepted, status, None)
    shape = _SHAPES.get(accepted.target, {"object": "workflow.call"})
    created = {"created": int(accepted.at)} if shape.get("object") in _CREATED else {}
    return orjson.dumps(
        {"id": accepted.call_id, **created, "model": accepted.model, **shape, "workflow": {"state": "deferred"}}
    )


def response_body(accepted: Accepted, reply: DeferredReply) -> bytes:
    """The outcome of a response: the engine's own, under the call's id, or one that failed or was cancelled."""
    said = orjson.loads(reply.body)
    if reply.status < 400:
        return orjson.dumps({**said, "id": accepted.call_id, "background": True})
    error = said.get("error")
    error = error if isinstance(error, dict) else {"message": str(error or said)}
    if error.get("code") == "session_cancelled":
        return _response(accepted, "cancelled", None)
    code = error.get("code") or error.get("type") or "server_error"
    return _response(accepted, "failed", {"code": str(code), "message": error.get("message")})


def cancelled_body(accepted: Accepted) -> bytes:
    """A response that was cancelled."""
    return _response(accepted, "cancelled", None)


def _response(accepted: Accepted, status: str, error: Mapping[str, object] | None) -> bytes:
    return orjson.dumps(
        {
            "id": accepted.call_id,
            **_SHAPES[_RESPONSE],
            "created_at": int(accepted.at),
            "model": accepted.model,
            "status": status,
            "background": True,
            "error": error,
            "incomplete_details": None,
        }
    )
