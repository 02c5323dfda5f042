"""What one call consumes and produces: its template, its producers, and how far it has come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.variables.producers import Producer, Transform, compile_outputs
from gateway.variables.template import Template, compile_template
from gateway.wire.request import Request
from hints.model import Hint


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


def compile_plan(request: Request, hint: Hint) -> Plan:
    """Read a call's data hints. Raises: HintError."""
    producers = compile_outputs(hint.outputs)
    return Plan(
        template=compile_template(request.route, request.fields, hint.inputs),
        producers=producers,
        names=tuple(producer.name for producer in producers),
        texts_only=all(producer.transform is not Transform.MESSAGE for producer in producers),
        lists=tuple(producer.name for producer in producers if producer.each or producer.map or request.n > 1),
    )
