"""What a run of calls must never show, checked on the recorded history of what happened. Pure.

A history is a list of events in the order in which they were seen, by clients, by workers and in the store. Each is
an observation that needs nobody's word for it: a worker notes the body it got, and what the store held then.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True)
class Sent:
    """A client sends a call: `call` is its own name for it, `text` the prompt with placeholders of its inputs."""

    call: str
    tenant: str
    session: str
    text: str = ""
    begins_early: bool = False
    """What it reads may be on its way to the store while it runs, and must be there when its reply is seen."""


@dataclass(frozen=True)
class Accepted:
    """The gateway has taken a call on, so that it must come to an outcome."""

    call: str


@dataclass(frozen=True)
class Dispatched:
    """A worker got a call, with this rendered prompt."""

    call: str
    prompt: str


@dataclass(frozen=True)
class Stored:
    """What the store says of a variable: the gateway's call that produces it, at which epoch, its value if any."""

    tenant: str
    session: str
    name: str
    producer: str
    epoch: int
    value: str | None = None


@dataclass(frozen=True)
class Read:
    """A client of `tenant` was given the value of a variable."""

    tenant: str
    session: str
    name: str
    value: str


@dataclass(frozen=True)
class Outcome:
    """How a call ended, as its client or whoever asks for its reply later is told."""

    call: str
    status: int
    reply: str = ""


Event = Sent | Accepted | Dispatched | Stored | Read | Outcome


class Kind(StrEnum):
    """What may be wrong with a history."""

    LOST = "an accepted call without an outcome"
    TWO_OUTCOMES = "two outcomes of one call"
    TWO_VALUES = "two values of one variable"
    EARLY_READ = "a value read before it was committed"
    CROSS_TENANT = "a value of another tenant"
    EPOCH_BACK = "an epoch that goes back"
    OTHER_PROMPT = "a prompt that is not the call's"
    UNKNOWN_CALL = "an event of a call that nobody sent"


@dataclass(frozen=True)
class Violation:
    """One thing that must not be, and the event that shows it."""

    kind: Kind
    shown_by: Event


def violations(history: Iterable[Event]) -> list[Violation]:
    """All that is wrong with a whole history; empty if it is sound.

    Whose a value is can only be told if no two tenants write the same text.
    """
    return _Check(list(history)).run()


class _Check:
    """One walk along a history."""

    def __init__(self, history: list[Event]) -> None:
        self.history = history
        self.found: list[Violation] = []
        self.sent: dict[str, Sent] = {}
        self.outcomes: dict[str, Outcome] = {}
        self.begun: dict[str, dict[str, str]] = {}
        """Values that calls began with, which were not committed by then."""
        self.values: dict[tuple[str, str, str], str] = {}
        self.epochs: dict[tuple[str, str, str], int] = {}
        stored = [event for event in history if isinstance(event, Stored)]
        self.writers = {(event.tenant, event.value) for event in stored}
        self.written = {event.value for event in stored}

    def run(self) -> list[Violation]:
        for event in self.history:
            self._see(event)
        accepted = [event for event in self.history if isinstance(event, Accepted)]
        self.found += [Violation(Kind.LOST, event) for event in accepted if event.call not in self.outcomes]
        return self.found

    def _see(self, event: Event) -> None:
        match event:
            case Sent():
                self.sent[event.call] = event
            case Stored():
                self._stored(event)
            case Read():
                self._reads(event, event.tenant, event.session, {event.name: event.value})
            case _ if event.call not in self.sent:
                self._wrong(Kind.UNKNOWN_CALL, event)
            case Dispatched():
                self._dispatched(event, self.sent[event.call])
            case Outcome():
                if self.outcomes.setdefault(event.call, event) != event:
                    self._wrong(Kind.TWO_OUTCOMES, event)
                sent = self.sent[event.call]
                if event.status == 200:
                    self._reads(event, sent.tenant, sent.session, self.begun.pop(event.call, {}))

    def _stored(self, event: Stored) -> None:
        variable = (event.tenant, event.session, event.name)
        producer = (event.tenant, event.session, event.producer)
        if event.epoch < self.epochs.get(producer, 0):
            self._wrong(Kind.EPOCH_BACK, event)
        self.epochs[producer] = max(event.epoch, self.epochs.get(producer, 0))
        if event.value is not None and self.values.setdefault(variable, event.value) != event.value:
            self._wrong(Kind.TWO_VALUES, event)

    def _dispatched(self, event: Dispatched, sent: Sent) -> None:
        values = rendered_values(sent.text, event.prompt)
        if values is None:
            self._wrong(Kind.OTHER_PROMPT, event)
            return
        place = (sent.tenant, sent.session)
        early = {
            name: text for name, text in values.items() if sent.begins_early and (*place, name) not in self.values
        }
        self.begun[event.call] = early
        self._reads(event, *place, {name: text for name, text in values.items() if name not in early})

    def _reads(self, event: Event, tenant: str, session: str, values: dict[str, str]) -> None:
        for name, value in values.items():
            committed = self.values.get((tenant, session, name))
            if committed == value:
                continue
            if value in self.written and (tenant, value) not in self.writers:
                self._wrong(Kind.CROSS_TENANT, event)
            else:
                self._wrong(Kind.EARLY_READ if committed is None else Kind.TWO_VALUES, event)

    def _wrong(self, kind: Kind, event: Event) -> None:
        self.found.append(Violation(kind, event))


def rendered_values(template: str, prompt: str) -> dict[str, str] | None:
    """What stands in place of each `{{name}}` of a template, None if the prompt is not rendered from it.

    One placeholder a name, with text between any two.
    """
    pieces = re.split(r"\{\{([^{}]+)\}\}", template)
    pattern = "".join("(.*)" if number % 2 else re.escape(piece) for number, piece in enumerate(pieces))
    found = re.fullmatch(pattern, prompt, re.DOTALL)
    return None if found is None else dict(zip(pieces[1::2], found.groups(), strict=True))
