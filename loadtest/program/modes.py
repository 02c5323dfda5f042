"""How a program is run and what its calls say of themselves. Pure.

| mode | who orders the calls | what a call says |
|---|---|---|
| plain | the client: it waits for each result and sends the next | nothing |
| session | the client | the session, in our header and in the one that other routers read |
| hints | the client | session, program, step, expected length, which call is last and wanted soonest |
| gateway | the gateway: all calls are sent at once | the same, and its inputs and outputs |
"""

from __future__ import annotations

from enum import StrEnum

from hints.client import hint_headers
from loadtest.program.graph import Ask, Program


class Mode(StrEnum):
    """See the table above."""

    PLAIN = "plain"
    SESSION = "session"
    HINTS = "hints"
    GATEWAY = "gateway"


def headers(mode: Mode, program: Program, ask: Ask, session: str) -> dict[str, str]:
    """The headers of one call of a run."""
    if mode is Mode.PLAIN:
        return {}
    if mode is Mode.SESSION:
        return {**hint_headers(session=session), "x-session-id": session}
    is_last = ask.name == program.last
    has_variables = mode is Mode.GATEWAY
    return hint_headers(
        session=session,
        name=program.name,
        step=ask.name,
        expected_tokens=ask.max_tokens,
        objective="latency" if is_last else None,
        final=is_last,
        inputs=ask.inputs if has_variables else (),
        outputs=(ask.name,) if has_variables else (),
    )
