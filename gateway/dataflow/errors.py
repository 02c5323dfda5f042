"""What the store says of a variable, as an answer to the client: who holds it, why it has none, what is refused."""

from __future__ import annotations

import time

from gateway.errors import BadRequest, Conflict, DependencyFailed
from gateway.store.variable import Cause, Link, Refused, State, Taken, Variable


class UpstreamFailed(DependencyFailed):
    """A variable that a call waits for will never have a value. `cause` is what is known of the reason."""

    def __init__(self, message: str, name: str, cause: Cause, code: str | None = None) -> None:
        super().__init__(message, param=name, code=code)
        self.cause = cause


def failure(variable: Variable) -> UpstreamFailed:
    """Why a variable has no value and never will, with the chain of causes."""
    name = variable.name
    if variable.state is State.PAST_END:
        return UpstreamFailed(f"{name} is past the end of its list.", name, Cause(()), code="past_end")
    cause = variable.cause or Cause(())
    chain = "; because ".join(map(_said, cause.links))
    return UpstreamFailed(f"{name} has no value and will get none: {chain}", name, cause)


def _said(link: Link) -> str:
    who = f"call {link.call_id}" if link.call_id else "its call was refused"
    return f"{link.variable} ({who}): {link.reason}"


def shown(session: str, variable: Variable) -> dict[str, object]:
    """A variable as JSON."""
    value = variable.value
    return {
        "object": "workflow.variable",
        "name": variable.name,
        "session": session,
        "state": variable.state.value,
        "producer": variable.call_id or None,
        "step": variable.step,
        "at": variable.at,
        "value": None if value is None else value.text,
        "kind": None if value is None else value.kind,
        "truncated": value is not None and value.truncated,
    }


def taken_error(taken: Taken) -> Conflict:
    """Who holds the name, since when, and what to do instead."""
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(taken.at))
    who = f"call {taken.call_id}" if taken.call_id else "a PUT"
    step = f" (step {taken.step})" if taken.step else ""
    how = "was given a value" if taken.state == "value" else "is being produced, since it was declared"
    return Conflict(
        f"{taken.name} {how} at {at} by {who}{step}. A variable has one value in a session: use a new session "
        f"for a new run, or, in a loop, names such as {taken.name}.1, {taken.name}.2.",
        code="variable_taken",
        param=taken.name,
    )


def refused_error(refused: Refused) -> BadRequest:
    """Why the graph does not take a call or a value."""
    names = " -> ".join(refused.names)
    what = {
        "self": f"The call lists {names} both as an input and as an output.",
        "cycle": f"These variables wait for each other: {names}.",
        "too_deep": f"Too many calls wait for each other in a row, up to {names}.",
    }.get(refused.kind, f"The session's graph is over a limit ({refused.kind}).")
    return BadRequest(what, code=f"graph_{refused.kind}", param="inputs")
