"""What a workflow is whichever client it has: a session, its calls, and the requests made for them. Pure."""

from __future__ import annotations

import json
import secrets
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from hints import syntax
from hints.client import hint_headers
from hints.model import Mode, Objective
from loomgate.clients import AnyClient
from loomgate.declared import Declarations, Declared, Produced, Read, Variable
from loomgate.errors import InputFailed

WAIT_S = 60
"""How long one request for a variable waits at the gateway; it is asked again."""
CANCEL_S = 5.0
"""What telling the gateway that a session is cancelled may take."""
CAUSE_S = 1.0
"""How long the cause of a failed input is looked for."""
ASK_AGAIN_S = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""Pauses between looks at a deferred reply once its variable has an outcome; the last one repeats."""


class Handle:
    """One call, before and after its reply; as text, the placeholder of the variable that it produces."""

    def __init__(self, declared: Declared) -> None:
        self.declared = declared

    @property
    def variable(self) -> Variable:
        """The variable it produces. Raises: ValueError, if there are several: take one of them by `call[name]`."""
        names = self.declared.names
        if len(names) > 1:
            raise ValueError(
                f"{self.declared.step} produces {', '.join(names)}: take one of them, as call[{names[0]!r}]"
            )
        return Variable(names[0])

    def __getitem__(self, name: str) -> Variable:
        """One of its variables, or an item of one."""
        if name not in self.declared.names and name.rpartition(".")[0] not in self.declared.names:
            raise KeyError(f"{self.declared.step} produces {', '.join(self.declared.names)}, not {name}")
        return Variable(name)

    def __str__(self) -> str:
        return str(self.variable)


AnyCall = TypeVar("AnyCall", bound=Handle)
"""A call as the client's kind has it: a task or a thread."""


class Flow(ABC, Generic[AnyCall]):
    """One run of a program: every call through it belongs to the same session."""

    def __init__(
        self, name: str | None, session: str | None, model: str | None, deferred: bool | None, client: AnyClient
    ) -> None:
        self.session = session if session is not None else f"{_slug(name)}-{secrets.token_hex(8)}"
        self.name = name
        self._model = model
        self._durable = deferred
        self._base_url = str(client.base_url)
        self._declarations = Declarations()
        self._calls: dict[int, AnyCall] = {}
        """By their number among the workflow's calls."""
        self._over = False
        self.headers()

    def headers(self, step: str | None = None, **hints: Any) -> dict[str, str]:
        """`hint_headers` with this run's session and name; for calls made without `call`. Raises: ValueError."""
        return hint_headers(session=self.session, name=self.name, step=step, **hints)

    def variable(self, name: str) -> Variable:
        """A variable that comes from elsewhere, so that calls can hold its placeholder. Raises: ValueError."""
        return self._declarations.give(name)

    def call(
        self,
        step: str,
        *,
        messages: Iterable[Any],
        model: str | None = None,
        inputs: Read = (),
        outputs: Produced = (),
        after: Read = (),
        objective: Objective | str | None = None,
        deadline_ms: int | None = None,
        expected_tokens: int | None = None,
        parent: str | None = None,
        mode: Mode | str | None = None,
        final: bool = False,
        **openai_kwargs: Any,
    ) -> AnyCall:
        """`client.chat.completions.create(...)` with hints, sent when the program next waits.

        With an async client that is the running task's next `await`, with a blocking one when a result is asked
        for or the block ends. Raises: ValueError for a hint that cannot be said, RuntimeError once the run is over.
        """
        if self._over:
            raise RuntimeError(f"workflow {self.session} is over: its final call was made or its block was left")
        model = model or self._model
        if model is None:
            raise ValueError(f"{step}: no model; name it in the call, or in Workflow(client, model=...)")
        hints = {
            "objective": objective,
            "deadline_ms": deadline_ms,
            "expected_tokens": expected_tokens,
            "parent": parent,
            "mode": mode,
            "final": final,
        }
        body = {**openai_kwargs, "messages": list(messages), "model": model}
        declared = self._declarations.declare(
            step, body=body, hints=hints, inputs=inputs, outputs=outputs, after=after
        )
        declared.headers(self.session, self.name)
        self._over = final
        call = self._calls[declared.number] = self._handle(declared)
        return call

    @abstractmethod
    def _handle(self, declared: Declared) -> AnyCall:
        """The call as its caller holds it."""

    def _request(self, declared: Declared, *, is_durable: bool) -> dict[str, Any]:
        """The arguments of `create`, from now on settled."""
        declared.is_sent = True
        declared.is_deferred = is_durable and declared.may_defer
        body, declared.body = dict(declared.body), {}
        more = body.pop("extra_headers", None) or {}
        return {**body, "extra_headers": {**declared.headers(self.session, self.name), **more}}

    def _session_path(self, rest: str) -> str:
        return f"/workflow/sessions/{quote(self.session, safe='')}/{rest}"

    def _variable_path(self, name: str) -> str:
        return self._session_path(f"variables/{quote(name, safe='')}")

    def _ready_url(self) -> str:
        return self._base_url.rstrip("/").removesuffix("/v1") + "/ready"


def never_declared(declared: Declared) -> InputFailed:
    """For a call that depends on one that was refused, so that the gateway does not know what it waits for."""
    names = ", ".join(declared.inputs)
    return InputFailed(declared.step, names, f"{names} will get no value: a call it depends on was refused")


def name_of(variable: Variable | Handle | str) -> str:
    """A variable's name."""
    if isinstance(variable, str):
        return variable
    return variable.name if isinstance(variable, Variable) else variable.variable.name


def says_durable(page: str) -> bool:
    """Whether a gateway's `/ready` page says that its store loses nothing; any other page does not."""
    try:
        found = json.loads(page)
        return found["store"]["durable"] is True
    except (ValueError, LookupError, TypeError):
        return False


def text_of(reply: Any) -> str:
    """What the model said in the first choice of a chat completion."""
    return reply.choices[0].message.content or ""


def put_arguments(value: object) -> dict[str, Any]:
    """A variable's value as a request: text as it is, anything else as JSON. Raises: TypeError."""
    is_text = isinstance(value, str)
    kind = "text/plain; charset=utf-8" if is_text else "application/json"
    content = value if isinstance(value, str) else json.dumps(value)
    return {"cast_to": str, "content": content.encode(), "options": {"headers": {"content-type": kind}}}


def value_arguments() -> dict[str, Any]:
    """A request that waits for a variable's value and gives it as text."""
    return {"cast_to": str, "options": {"params": {"wait_s": WAIT_S}, "headers": {"accept": "text/plain"}}}


def _slug(name: str | None) -> str:
    """A readable start for a generated session id."""
    return "".join(syntax.NAME_PATTERN.findall(name or ""))[:64] or "run"
