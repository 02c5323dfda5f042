"""What one call consumes and produces: its template, its producers, and how far it has come."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from typing import Protocol

import orjson
from msgspec.structs import replace

from gateway.structs import Unique
from gateway.variables.producers import Producer, Transform, compile_outputs
from gateway.variables.template import Template, compile_template
from gateway.variables.values import Value
from gateway.wire.request import DROPPED, Request, refuse_wide_integers
from gateway.wire.routes import Shape
from hints.model import Hint, HintError


class Filling(Protocol):
    """What a placeholder stands for."""

    @property
    def text(self) -> str:
        """What is put in its place."""


class Plan(Unique):
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
    awaited: bool = False
    """Whether a call declared before it, on any replica, reads what it produces."""
    undone: bool = False
    """Declared, and neither committed nor failed yet."""
    fenced: str | None = None
    """One of its outputs that the store did not take from it, since this attempt is no longer the one in force."""
    resumed: bool = False
    """An earlier attempt at the call may have come to a part of it."""
    gathers: bool = False
    """The engine is to stream though its client does not ask for it: items of a list are wanted as they come."""
    begun: bool = False
    """Items of its lists were committed: no other attempt may begin anew."""
    going_on: Request | None = None
    """What has another worker go on where the reply broke off."""
    over: str | None = None
    """The list it is mapped over: each item gets a call of its own, and this one is sent to no worker."""
    owner: str | None = None
    """Of one item of a map: the call that declared its outputs."""
    committed: Mapping[str, Value] | None = None
    """What one item of a map gave."""
    values: Mapping[str, Filling] | None = None
    """What its placeholders stand for, once that is known: shared with all who read the same value."""
    unsaved: Mapping[str, Awaitable[bool]] | None = None
    """Inputs that it was given while the store had yet to take them: whether it did, in the end."""

    @property
    def each(self) -> tuple[Producer, ...]:
        """The outputs whose items are committed while the reply streams."""
        return tuple(producer for producer in self.producers if producer.each)

    def of_item(self, owner: str, index: int, item: Filling) -> Plan:
        """What the call of one item of a map consumes and produces."""
        producers = tuple(
            replace(producer, name=f"{producer.name}.{index}", map=False, map_over=None)
            for producer in self.producers
        )
        values = {**(self.values or {}), **({self.over: item} if self.over in self.template.used else {})}
        return Plan(
            template=self.template,
            producers=producers,
            names=tuple(producer.name for producer in producers),
            lists=(),
            texts_only=self.texts_only,
            epoch=self.epoch,
            undone=True,
            values=values or None,
            owner=owner,
        )

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
    several = bool(producers) and replies(request) > 1
    if several:
        _refuse_several_lists(producers)
    template = compile_template(request.route, request.fields, hint.inputs)
    if template.used:
        refuse_wide_integers(request.raw)
    return Plan(
        template=template,
        over=_mapped(request, hint, producers),
        producers=producers,
        names=tuple(producer.name for producer in producers),
        texts_only=all(producer.transform is not Transform.MESSAGE for producer in producers),
        gathers=any(producer.each for producer in producers) and _may_stream(request),
        lists=tuple(producer.name for producer in producers if several or producer.each or producer.map),
    )


def _mapped(request: Request, hint: Hint, producers: Sequence[Producer]) -> str | None:
    """The input that a call is mapped over. Raises: HintError."""
    maps = [producer for producer in producers if producer.map]
    if not maps:
        return None
    named = {producer.map_over for producer in maps} - {None}
    over = named.pop() if len(named) == 1 else hint.inputs[0] if len(hint.inputs) == 1 and not named else None
    if over is None or over not in hint.inputs:
        listed = hint.inputs[0] if hint.inputs else "files"
        raise HintError("outputs", f"A `map` names one of its inputs, such as {maps[0].name};map={listed}.")
    if len(maps) < len(producers):
        raise HintError("outputs", "All outputs of a call are declared `map`, or none of them.")
    if request.stream or request.n > 1 or request.route.shape not in (Shape.CHAT, Shape.COMPLETION):
        raise HintError("outputs", "A `map` takes unstreamed chat completions or completions, without n.")
    return over


def replies(request: Request) -> int:
    """How many replies a call is to get: `n` for each of its prompts."""
    prompt = request.fields.get("prompt") if request.route.shape is Shape.COMPLETION else None
    is_several = isinstance(prompt, list) and not all(type(token) is int for token in prompt)
    return request.n * (len(prompt) if is_several and isinstance(prompt, list) else 1)


def _refuse_several_lists(producers: Sequence[Producer]) -> None:
    """The items of a list are numbered, and so are replies: not both. Raises: HintError."""
    for producer in producers:
        if producer.each or producer.map:
            kind = "map" if producer.map else "each"
            message = f"The output {producer.name} is declared `{kind}`, which takes one reply a call."
            raise HintError("outputs", message)


def _may_stream(request: Request) -> bool:
    """Whether an unstreamed call may be streamed instead: beam search is none, and its options would be refused."""
    fields = request.fields
    return (
        request.route.generates
        and not request.stream
        and not fields.get("use_beam_search")
        and fields.get("stream_options") is None
    )
