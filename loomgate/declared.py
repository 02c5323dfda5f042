"""A workflow's calls as declared, before anything is sent: names, placeholders, hints. Pure.

A call is sent when its program next waits for something, not when it is declared. By then it is known which calls
are read by others: those produce a variable, and of the rest only those that name one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from hints import syntax
from hints.client import hint_headers
from hints.model import Mode, Output

_PLACEHOLDER = re.compile(r"\{\{\s*(" + syntax.NAME_PATTERN.pattern + r")\s*\}\}")


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable's name; as text, the placeholder that its value takes the place of."""

    name: str

    def __str__(self) -> str:
        return f"{{{{{self.name}}}}}"


class Producer(Protocol):
    """A call, where a variable's name is asked for."""

    @property
    def variable(self) -> Variable:
        """The one it produces."""
        ...


Read = str | Iterable["str | Variable | Producer"] | Variable | Producer
"""Names as in the header, or names, variables and calls."""
Produced = str | Output | Iterable[str | Output]


@dataclass(slots=True)
class Declared:
    """One call: its hints, its body, and whether it has been sent."""

    number: int
    """Of the workflow's calls."""
    step: str
    body: Mapping[str, Any]
    hints: Mapping[str, Any]
    inputs: tuple[str, ...]
    outputs: tuple[Output, ...]
    default: str
    """The variable it produces when it is read and names none itself."""
    is_read: bool = False
    """Another call waits for it."""
    is_sent: bool = False
    is_deferred: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """The variables it produces, or would produce if it were read."""
        return tuple(output.name for output in self.outputs) or (self.default,)

    @property
    def may_defer(self) -> bool:
        """Whether only other calls are known to need its reply."""
        return self.is_read and self.hints.get("mode") is None and not self.body.get("stream")

    def headers(self, session: str, name: str | None) -> dict[str, str]:
        """Its headers, as it stands. Raises: ValueError."""
        return hint_headers(
            session=session,
            name=name,
            step=self.step,
            inputs=self.inputs,
            outputs=self.outputs,
            **{**self.hints, **({"mode": Mode.DEFERRED} if self.is_deferred else {})},
        )

    def read(self) -> None:
        """Note that another call waits for it. Raises: ValueError, when it was sent without an output."""
        if not self.outputs:
            if self.is_sent:
                raise ValueError(
                    f"{self.default}: that call was sent before anything read it, and so without an output: "
                    f"say outputs={self.default!r} where it is called, or use its text"
                )
            self.outputs = (Output(self.default),)
        self.is_read = True


class Declarations:
    """Every call of one workflow, and its variables."""

    def __init__(self) -> None:
        self._producers: dict[str, Declared] = {}
        self._given: set[str] = set()
        self._uses: Counter[str] = Counter()

    def declare(
        self,
        step: str,
        *,
        body: Mapping[str, Any],
        hints: Mapping[str, Any],
        inputs: Read,
        outputs: Produced,
        after: Read,
    ) -> Declared:
        """One more call; it reads what is listed, and every known variable whose placeholder its messages hold.

        Raises: ValueError.
        """
        found = (name for name in _placeholders(body.get("messages")) if self._knows(name))
        names = tuple(dict.fromkeys([*_names(inputs), *found]))
        earlier = tuple(_names(after))
        for name in (*names, *earlier):
            producer = self.producer(name)
            if producer is not None:
                producer.read()
        self._uses[step] += 1
        default = f"{step}.{self._uses[step]}"
        declared = Declared(
            self._uses.total(), step, body, {**hints, "after": earlier}, names, _outputs(outputs), default
        )
        self._producers |= dict.fromkeys(declared.names, declared)
        return declared

    def give(self, name: str) -> Variable:
        """A variable that comes from elsewhere. Raises: ValueError."""
        self._given.add(syntax.name(name))
        return Variable(name)

    def producer(self, name: str) -> Declared | None:
        """The call that produces a variable, or the list of which it is an item."""
        return self._producers.get(name) or self._producers.get(name.rpartition(".")[0])

    def producers(self, declared: Declared) -> list[Declared]:
        """The calls that produce what a call reads, and what those read, and so on; each once."""
        found: dict[int, Declared] = {}
        left = [declared]
        while left:
            for each in filter(None, map(self.producer, left.pop().inputs)):
                if each.number not in found:
                    found[each.number] = each
                    left.append(each)
        return list(found.values())

    def _knows(self, name: str) -> bool:
        return name in self._given or self.producer(name) is not None


def _names(members: Read) -> list[str]:
    if isinstance(members, str):
        return [item.name for item in syntax.items(members)]
    if isinstance(members, Iterable):
        return [_name(member) for member in members]
    return [_name(members)]


def _name(member: str | Variable | Producer) -> str:
    if isinstance(member, str):
        return member
    return member.name if isinstance(member, Variable) else member.variable.name


def _outputs(members: Produced) -> tuple[Output, ...]:
    if isinstance(members, Output):
        return (members,)
    listed = [members] if isinstance(members, str) else members
    return tuple(found for member in listed for found in _output(member))


def _output(member: str | Output) -> Iterator[Output]:
    if isinstance(member, Output):
        yield member
        return
    try:
        yield from (Output(item.name, item.params) for item in syntax.items(member))
    except syntax.Malformed as fault:
        raise ValueError(f"outputs: {fault}") from None


def _placeholders(value: Any) -> Iterator[str]:
    """Names in double braces in any text of a JSON value."""
    if isinstance(value, str):
        yield from _PLACEHOLDER.findall(value)
    elif isinstance(value, Mapping):
        yield from _placeholders(value.values())
    elif isinstance(value, Iterable):
        for item in value:
            yield from _placeholders(item)
