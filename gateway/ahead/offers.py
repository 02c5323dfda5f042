"""What a waiting call has to offer for work ahead: its prompt, up to where its first missing input is known."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.call import Call
from gateway.variables.template import RENDERED_LIMIT_CHARS, Template


@dataclass(frozen=True, slots=True)
class Beginning:
    """The known part of a prompt."""

    fields: dict[str, Any]
    ends_inside: bool
    """Whether its last text goes on."""


@dataclass(slots=True)
class Offer:
    """A waiting call and the inputs it has; what is filled of it is made when a worker idles for it."""

    call: Call
    template: Template
    values: dict[str, str]
    tokens: int = 0
    """Estimated, of the beginning that was last asked for."""
    partial: dict[str, str] = field(default_factory=dict)
    """What was read along of the first missing input."""
    reader: asyncio.Task[None] | None = None


def begin(template: Template, values: Mapping[str, str], partial: Mapping[str, str]) -> Beginning | None:
    """What is known of a prompt whose inputs are `values` so far, and `partial` of the next; None if nothing is."""
    if all(name in values for name in template.used):
        if template.rendered_chars(values) > RENDERED_LIMIT_CHARS:
            return None
        return Beginning(template.render(values), ends_inside=False)
    fields = template.head(values, partial)
    return None if fields is None else Beginning(fields, ends_inside=True)
