"""What one call consumes and produces: its template, its producers, and how far it has come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import orjson
from msgspec.structs import replace

from gateway.variables.producers import Producer, Transform, compile_outputs
from gateway.variables.template import Template, compile_template
from gateway.wire.request import DROPPED, Request, refuse_wide_integers
from hints.model import Hint


class Filling(Protocol):
    """What a placeholder stands for."""

    @property
    def text(self) -> str:
        """What is put in its place."""


@dataclass(slots=True, eq=False)
class Plan:
    """The data hints of one call, compiled."""

    template: Template
    producers: Sequence[Producer]
    names: tuple[str, ...]
    """Of its outputs."""
    lists: tuple[str, ...]
    """Those of them whose items others may wait for."""
    texts_only: bool = True
    """Whether its outputs are cut from the reply's text alone."""
    epoch: int = 0
    """Fences its commits."""
    undone: bool = False
    """Declared, and neither committed nor failed yet."""
    values: Mapping[str, Filling] | None = None
    """What its placeholders stand for, once that is known: shared with all who read the same value."""

    def rendered(self, request: Request) -> Request:
        """The request with its inputs filled in, made anew for each attempt: a call that queues holds none.

        `request` is the one the plan was compiled from. Without placeholders it is returned as it is.
        """
        if self.values is None:
            return request
        filled = self.template.render({name: value.text for name, value in self.values.items()})
        fields = {key: value for key, value in filled.items() if key not in DROPPED}
        return replace(request, raw=orjson.dumps(fields), fields=fields)


def compile_plan(request: Request, hint: Hint) -> Plan:
    """Read a call's data hints. Raises: HintError, BadRequest."""
    producers = compile_outputs(hint.outputs)
    template = compile_template(request.route, request.fields, hint.inputs)
    if template.used:
        refuse_wide_integers(request.raw)
    return Plan(
        template=template,
        producers=producers,
        names=tuple(producer.name for producer in producers),
        texts_only=all(producer.transform is not Transform.MESSAGE for producer in producers),
        lists=tuple(producer.name for producer in producers if producer.each or producer.map or request.n > 1),
    )
