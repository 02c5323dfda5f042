"""Saying hints on the caller's side: validated headers. Pure.

Whatever is built here is read back by the gateway's own reader first, so a fault shows where it was made, as a
`ValueError`.
"""

from __future__ import annotations

from collections.abc import Iterable

from hints import own, syntax
from hints.model import Mode, Objective, Output
from hints.syntax import Malformed

Names = str | Iterable[str]
Outputs = str | Iterable[str | Output]


def hint_headers(
    *,
    session: str | None = None,
    name: str | None = None,
    step: str | None = None,
    parent: str | None = None,
    inputs: Names = (),
    outputs: Outputs = (),
    after: Names = (),
    objective: Objective | str | None = None,
    deadline_ms: int | None = None,
    expected_tokens: int | None = None,
    mode: Mode | str | None = None,
    final: bool = False,
    idempotency_key: str | None = None,
) -> dict[str, str]:
    """Headers that say exactly this; what is left out is not sent.

    Names are a list, or text as in the header (`plan, files;json="$.files[*]"`). Raises `ValueError` naming
    the argument that cannot be said in a header, or that the gateway would not understand.
    """
    said: dict[str, str | None] = {
        "session": _quoted(session),
        "name": _quoted(name),
        "step": _quoted(step),
        "parent": _quoted(parent),
        "inputs": _listed(inputs),
        "outputs": _listed(outputs),
        "after": _listed(after),
        "objective": None if objective is None else str(objective),
        "deadline_ms": None if deadline_ms is None else str(deadline_ms),
        "expected_tokens": None if expected_tokens is None else str(expected_tokens),
        "mode": None if mode is None else str(mode),
        "final": "?1" if final else None,
        "idempotency_key": _quoted(idempotency_key),
    }
    return {
        own.BY_FIELD[field].header: _checked(own.BY_FIELD[field], value)
        for field, value in said.items()
        if value is not None
    }


def _checked(row: own.OwnHint, value: str) -> str:
    if not value.isascii():
        raise ValueError(
            f"{row.field}: a header carries ASCII only; "
            f'send it in the body: extra_body={{"{own.OWN_BODY_KEY}": {{"{row.field}": ...}}}}'
        )
    try:
        row.read(value)
    except Malformed as fault:
        raise ValueError(f"{row.field}: {fault}") from None
    return value


def _quoted(value: str | None) -> str | None:
    """Text as it is, or quoted where reading it would trim or unwrap it."""
    if value is None or (value == value.strip(syntax.SPACE) and not value.startswith('"')):
        return value
    return _as_string(value)


def _listed(members: Outputs) -> str | None:
    if isinstance(members, str):
        return members
    return ", ".join(_member(member) for member in members) or None


def _member(member: str | Output) -> str:
    if isinstance(member, str):
        return member
    return member.name + "".join(_parameter(key, value) for key, value in member.params)


def _parameter(key: str, value: str | bool) -> str:
    if value is True:
        return f";{key}"
    return f";{key}=?0" if value is False else f";{key}={_as_string(value)}"


def _as_string(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
