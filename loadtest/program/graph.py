"""A program as a graph of steps, the one definition that every mode runs. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

PLACEHOLDER = re.compile(r"\{\{([A-Za-z0-9_.:/-]+)\}\}")
"""A value of an earlier step, by its name."""


Message = tuple[str, str]
"""Role and text."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A call of the model: its reply's text is the value called `name`, and `max_tokens` long."""

    name: str
    text: str
    """The user's message; `{{name}}` stands for the value of an earlier step."""
    max_tokens: int
    before: tuple[Message, ...] = ()
    """The conversation up to it, placeholders and all, without the system message."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """The values it reads, in order, each once."""
        texts = (*(text for _, text in self.before), self.text)
        return tuple(dict.fromkeys(name for text in texts for name in PLACEHOLDER.findall(text)))

    def messages(self, system: str) -> tuple[Message, ...]:
        """All it sends, placeholders and all."""
        return (("system", system), *self.before, ("user", self.text))


@dataclass(frozen=True, slots=True)
class Lookup:
    """A step without a model, retrieval or a tool: `find` makes its value of its inputs' values."""

    name: str
    inputs: tuple[str, ...]
    find: Callable[[Mapping[str, str]], str]
    takes_s: float = 0.0
    """How long it works on that."""


Step = Ask | Lookup


@dataclass(frozen=True, slots=True)
class Program:
    """Steps in an order in which each reads earlier ones only; the last one is the program's answer.

    Raises: ValueError, for steps in another order, of one name, or whose value nobody reads.
    """

    name: str
    system: str
    """The system message of every call; a run puts its nonce before it."""
    steps: tuple[Step, ...]
    is_shared: bool = False
    """Whether all runs of a batch have this system message in common: the nonce before it is the batch's then."""

    def __post_init__(self) -> None:
        known: set[str] = set()
        for step in self.steps:
            if step.name in known or not known.issuperset(step.inputs):
                raise ValueError(f"{self.name}: {step.name} is there twice, or reads what no earlier step gives")
            known.add(step.name)
        unread = known - {name for step in self.steps for name in step.inputs}
        if unread != {self.steps[-1].name}:
            raise ValueError(f"{self.name}: {sorted(unread)} are read by nobody; only the last step may be")

    @property
    def asks(self) -> tuple[Ask, ...]:
        """The calls of the model."""
        return tuple(step for step in self.steps if isinstance(step, Ask))

    @property
    def last(self) -> str:
        """The step whose value is the answer."""
        return self.steps[-1].name


def filled(text: str, values: Mapping[str, str]) -> str:
    """The text with its placeholders replaced, in one pass, as the gateway does."""
    return PLACEHOLDER.sub(lambda found: values[found[1]], text)
