"""One call as it was sent: what it reads and produces, in the model's words and in the headers'."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from enum import Enum

TRANSFORMS = {
    "text": "",
    "digits": ';regex="[0-9]+"',
    "json": ';json="$.x"',
    "list": ';json="$.l";each',
}
"""What is cut from a reply, by the model's name for it."""


class Stand(Enum):
    """Where a call stands."""

    PARKED = "parked"
    MAPPING = "mapping"
    """A map whose other inputs are there: its items run as they come."""
    READY = "ready"
    OVER = "over"


@dataclass(frozen=True)
class Spec:
    """What a client asks for."""

    tenant: str
    session: str
    inputs: tuple[str, ...]
    after: tuple[str, ...]
    outputs: dict[str, str]
    """Name to transform."""
    step: str
    stream: bool = False
    gateway: int = 0
    over: str | None = None
    """The input that it is mapped over."""
    keyed: bool = False
    """Whether it has an idempotency key."""


@dataclass(eq=False)
class Call:
    """One call, or (with a `parent`) that of one item of a map, and what the model knows of it."""

    number: int
    spec: Spec
    gateway: int
    parent: Call | None = None
    index: int = 0
    item: str = ""
    """What a map's item is, as text."""
    items: list[Call] = field(default_factory=list)
    deadline_s: float = 0.0
    stand: Stand = Stand.PARKED
    status: int = 0
    """Of its reply, once it is over. 599 stands for any of 502, 503 and 504."""
    said: str | None = None
    """What its worker said, once that was all."""
    refused: str = ""
    """The code of the error, if it was never declared."""
    begun: bool = False
    """Whether the client has its first byte."""
    planned: str = ""
    """What its worker will have said in the end, once it has begun to write a list."""
    left: bool = False
    orphan_until_s: float | None = None
    followed: set[str] = field(default_factory=set)
    """Those of `after` that were over when it looked: a later call of the same step changes nothing."""
    failed_by: frozenset[int] = frozenset()
    """Calls that one of the causes of a 424 must begin with."""

    @property
    def outputs(self) -> dict[str, str]:
        """What it produces, and how that is cut from its reply."""
        if self.parent is None:
            return self.spec.outputs
        return {f"{name}.{self.index}": transform for name, transform in self.spec.outputs.items()}

    @property
    def lists(self) -> frozenset[str]:
        """Those of its outputs that have items."""
        return frozenset(n for n, how in self.spec.outputs.items() if how == "list" or self.spec.over is not None)

    @property
    def names(self) -> tuple[str, ...]:
        """All it waits for."""
        return (*self.spec.inputs, *self.spec.after)

    @property
    def placeholders(self) -> tuple[str, ...]:
        """Its inputs as its text holds them: in another order than they are listed, and one of them twice."""
        return (*reversed(self.spec.inputs), *self.spec.inputs[-1:])

    @property
    def text(self) -> str:
        """The prompt as sent."""
        return " ".join([self.mark, *(f"{{{{{name}}}}}" for name in self.placeholders)])

    @property
    def mark(self) -> str:
        """Whose prompt it is."""
        return f"<{self.number} {self.spec.tenant}>"

    @property
    def headers(self) -> dict[str, str]:
        """What is said of it."""
        spec = self.spec
        mapped = f";map={spec.over}" if spec.over is not None else ""
        said = {
            "x-workflow-session": spec.session,
            "x-workflow-step": spec.step,
            "x-workflow-inputs": ", ".join(spec.inputs),
            "x-workflow-after": ", ".join(spec.after),
            "x-workflow-outputs": ", ".join(f"{n}{mapped}{TRANSFORMS[how]}" for n, how in spec.outputs.items()),
            "idempotency-key": f"key {self.number}" if spec.keyed else "",
        }
        return {name: value for name, value in said.items() if value}


def list_of(name: str) -> str:
    """The list that a name is an item of; empty if it is none."""
    return name[: name.rindex(".")] if re.search(r"\.[0-9]+$", name) else ""


def cut(transform: str, reply: str) -> str | None:
    """The value of an output, None if the transform does not match."""
    if transform == "text":
        return reply
    patterns = {"digits": "[0-9]+", "json": r'"x": "([^"]*)"', "list": r'"l": (\[[^]]*\])'}
    found = re.search(patterns[transform], reply)
    return None if found is None else found.group(found.lastindex or 0)


def items_in(text: str) -> list[str] | None:
    """The items of a value that is a list of texts; None if it is none."""
    try:
        items = json.loads(text)
    except ValueError:
        return None
    return items if isinstance(items, list) else None


def list_text(items: list[str]) -> str:
    """A list of texts as its variable has it."""
    return f"[{', '.join(map(json.dumps, items))}]"
