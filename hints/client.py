"""Saying hints on the caller's side: validated headers, and `Workflow`, sugar over an unmodified client.

Works with any client shaped like the `openai` package's, sync or async; imports none. Whatever is built here
is read back by the gateway's own reader first, so a fault shows where it was made, as a `ValueError`.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Protocol, Self

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


class _Completions(Protocol):
    @property
    def create(self) -> Any: ...


class _Chat(Protocol):
    @property
    def completions(self) -> _Completions: ...


class ChatClient(Protocol):
    """The part of an OpenAI client that is used: `client.chat.completions.create`."""

    @property
    def chat(self) -> _Chat:
        """The chat resource."""
        ...


class Workflow:
    """One run of a program: every call through it belongs to the same session.

    As a context manager (sync or async) it is over when the block ends; nothing is sent for that. The call
    that ends the session for the gateway too is the one made with `final=True`.
    """

    def __init__(self, client: ChatClient, name: str | None = None, session: str | None = None) -> None:
        """`session` None makes a new id. Raises `ValueError` for a name or session no header can carry."""
        self.session = session if session is not None else f"{_slug(name)}-{secrets.token_hex(8)}"
        self.name = name
        self._client = client
        self._over = False
        self.headers()

    def headers(self, step: str | None = None, **hints: Any) -> dict[str, str]:
        """`hint_headers` with this run's session and name; for calls made without `call`."""
        return hint_headers(session=self.session, name=self.name, step=step, **hints)

    def call(
        self,
        step: str,
        *,
        messages: Iterable[Any],
        model: str,
        inputs: Names = (),
        outputs: Outputs = (),
        after: Names = (),
        objective: Objective | str | None = None,
        deadline_ms: int | None = None,
        expected_tokens: int | None = None,
        parent: str | None = None,
        mode: Mode | str | None = None,
        final: bool = False,
        extra_headers: Mapping[str, str] | None = None,
        **openai_kwargs: Any,
    ) -> Any:
        """`client.chat.completions.create(...)` with hints: the SDK's own object, awaitable when it is async.

        Raises `ValueError` for a hint that cannot be said, `RuntimeError` once the run is over.
        """
        if self._over:
            raise RuntimeError(f"workflow {self.session} is over: its final call was made or its block was left")
        headers = self.headers(
            step,
            inputs=inputs,
            outputs=outputs,
            after=after,
            objective=objective,
            deadline_ms=deadline_ms,
            expected_tokens=expected_tokens,
            parent=parent,
            mode=mode,
            final=final,
        )
        self._over = final
        return self._client.chat.completions.create(
            messages=messages, model=model, extra_headers={**headers, **(extra_headers or {})}, **openai_kwargs
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over = True

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over = True


def _slug(name: str | None) -> str:
    """A readable start for a generated session id."""
    return "".join(syntax.NAME_PATTERN.findall(name or ""))[:64] or "run"
