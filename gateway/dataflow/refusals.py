"""Calls refused before they were declared: who waits for what they were to produce is told at once, and why.

Only what nobody has declared fails, so that neither a duplicate nor a stranger fails what others produce; a
corrected producer may be sent again, as after any failure. Runs for refused calls only, beside the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import orjson

from engines.base import RawHeaders
from gateway.background import Background
from gateway.call import Call
from gateway.errors import BadRequest, LoomgateError
from gateway.store.variable import Cause, Declaration, Link
from hints.model import Hint, HintError
from hints.parse import OWN_BODY_KEY, parse

FINAL = frozenset({400, 404, 413, 422, 501})
"""What the same request gets again. Not 409: the name is another call's; not 408, 429, 503: it is sent again."""
MAX_OUTPUTS = 1000
_MAX_BODY_BYTES = 1 << 20
"""Of a refused body that is read once more for its hints."""
_NOT_READ_FIELDS = ("inputs", "input", "after", "mode")
_NOT_READ = frozenset(b"x-workflow-" + field.encode() for field in _NOT_READ_FIELDS)
"""Data hints that may be why it was refused, and say nothing of what it was to produce."""


class VariableRefuser(Protocol):
    """The store's side."""

    async def refuse(self, tenant: str, session: str, refused: Declaration, cause: Cause) -> list[str]:
        """Fail outputs that nobody declared; their names. Raises: StoreUnavailable, BadRequest."""


class Refusals:
    """Tells the store of producers that will never be."""

    def __init__(
        self, variables: VariableRefuser, background: Background, changed: Callable[[str, str], None]
    ) -> None:
        """`changed` hears of each session (tenant, session) of which something failed."""
        self._variables = variables
        self._background = background
        self._changed = changed

    def call(self, call: Call, error: LoomgateError) -> None:
        """A call was refused; one that was declared fails its outputs itself."""
        if call.plan is None or not call.plan.epoch:
            self._tell(call.tenant, call.hint, call.request.fields, call.call_id, error)

    def unread(self, tenant: str, headers: RawHeaders, raw: bytes, error: LoomgateError | HintError) -> None:
        """A request was refused before it was a call: what can be read of its hints counts."""
        if isinstance(error, HintError):
            error = BadRequest(str(error))
        fields = _fields(raw)
        try:
            hint = parse([line for line in headers if line[0] not in _NOT_READ], fields).hint
        except HintError:
            return
        self._tell(tenant, hint, fields, "", error)

    def _tell(self, tenant: str, hint: Hint, fields: Mapping[str, Any], call_id: str, error: LoomgateError) -> None:
        if not hint.outputs or hint.session is None or error.status not in FINAL or len(hint.outputs) > MAX_OUTPUTS:
            return
        names = tuple(output.name for output in hint.outputs)
        refused = Declaration(call_id=call_id, step=hint.step, outputs=names, lists=_lists(hint, fields))
        cause = Cause((Link(", ".join(names), call_id, error.message),))
        self._background.run("fail outputs of a refused call", self._fail(tenant, hint.session, refused, cause))

    async def _fail(self, tenant: str, session: str, refused: Declaration, cause: Cause) -> None:
        if await self._variables.refuse(tenant, session, refused, cause):
            self._changed(tenant, session)


def _fields(raw: bytes) -> dict[str, Any]:
    """A refused body's fields that say what it was to produce; none if it is so long that it is not read again."""
    try:
        fields = orjson.loads(raw) if len(raw) <= _MAX_BODY_BYTES else None
    except orjson.JSONDecodeError:
        return {}
    if not isinstance(fields, dict):
        return {}
    said = fields.get(OWN_BODY_KEY)
    own = {key: said[key] for key in said if key not in _NOT_READ_FIELDS} if isinstance(said, dict) else None
    return {**fields, OWN_BODY_KEY: own}


def _lists(hint: Hint, fields: Mapping[str, Any]) -> tuple[str, ...]:
    """Outputs whose items others may wait for."""
    n = fields.get("n")
    several = type(n) is int and n > 1
    return tuple(o.name for o in hint.outputs if several or any(key in ("each", "map") for key, _ in o.params))
