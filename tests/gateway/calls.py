"""A call as intake makes it, by itself."""

from __future__ import annotations

from gateway.call import Call
from gateway.estimate.tokens import PromptSize
from gateway.nouns import Edge, ReadyCall
from gateway.wire.request import Request
from gateway.wire.routes import ROUTES
from hints.model import Hint

REQUEST = Request(ROUTES[b"/v1/completions"], b"{}", {}, "m", False, 1, None)


def arrived_call() -> Call:
    return Call(
        call_id="call-1",
        tenant="t",
        request=REQUEST,
        size=PromptSize(),
        hint=Hint(name="writer", step="draft", parent="plan", objective="latency"),
        ready=ReadyCall("call-1", "t", "m", arrived_s=100.0, prompt_tokens=7, output_tokens=3),
        session="s",
        inferred=False,
        edges=(Edge("call-0", "hint"),),
        adopted=(),
        understood="",
        notes="",
        arrived_s=100.0,
        arrived_at=1_700_000_000.0,
    )
