"""Values cut from a reply: one function a transform, and the names they get. Pure."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import orjson

from gateway.variables.fences import fenced_blocks
from gateway.variables.items import ListScanner, ScanState
from gateway.variables.json_text import find_json, json_value, parse_json
from gateway.variables.producers import Producer, Transform
from gateway.variables.values import (
    VALUE_LIMIT_BYTES,
    NoValue,
    ProducedReply,
    TransformFailed,
    Value,
    ValueTooLarge,
)

_PIECE_CHARS = 4096
"""Of a list, read at once."""


def produce(
    producers: Sequence[Producer], reply: ProducedReply, limit_bytes: int = VALUE_LIMIT_BYTES
) -> dict[str, Value]:
    """All values of a reply by name: `name`, with `name.0`, `name.1`, ... of the items of an `each`.

    Of several choices `name.0`, ... are the values, and `name` is the list of them.
    Raises: TransformFailed; then nothing of the reply is a value.
    """
    values: dict[str, Value] = {}
    for producer in producers:
        given = [apply(producer, reply, choice, limit_bytes) for choice in range(len(reply.texts))]
        items = given if len(given) != 1 else list_items(producer.name, given[0].text) if producer.each else ()
        values |= {f"{producer.name}.{index}": item for index, item in enumerate(items)}
        values[producer.name] = given[0] if len(given) == 1 else _listed(producer.name, given, limit_bytes)
    return values


def apply(producer: Producer, reply: ProducedReply, choice: int = 0, limit_bytes: int = VALUE_LIMIT_BYTES) -> Value:
    """The value of one output for one choice. Raises: TransformFailed, ValueTooLarge."""
    truncated = reply.is_truncated(choice)
    because = f" (the reply was cut off: {reply.finish_reasons[choice]})" if truncated else ""
    if truncated and producer.complete:
        raise TransformFailed(producer.name, f"the reply is not complete{because}")
    try:
        value = _APPLY[producer.transform](producer, reply, choice)
    except NoValue as error:
        raise TransformFailed(producer.name, f"{error}{because}") from None
    _check_size(producer.name, value, limit_bytes)
    return value


def item_value(name: str, text: str, limit_bytes: int = VALUE_LIMIT_BYTES) -> Value:
    """The value of one item of a list, from its JSON text. Raises: TransformFailed, ValueTooLarge."""
    try:
        document = parse_json(text)
        value = json_value(document)
    except NoValue as error:
        raise TransformFailed(name, str(error)) from None
    if value.kind == "json":
        value = Value(text, "json", items=value.items)
    _check_size(name, value, limit_bytes)
    return value


def _check_size(name: str, value: Value, limit_bytes: int) -> None:
    try:
        size_bytes = len(value.text.encode())
    except UnicodeEncodeError:
        raise TransformFailed(name, "the value holds half of a surrogate pair, which is no text") from None
    if size_bytes > limit_bytes:
        raise ValueTooLarge(name, size_bytes, limit_bytes)


def list_items(name: str, text: str, at_most: int = sys.maxsize) -> list[Value]:
    """The items of a value that holds a JSON list, as `each` gives them. Raises: TransformFailed.

    Of a longer list than `at_most` not all is read: there are some items too many.
    """
    scanner = ListScanner(limit_chars=max(1, len(text)))
    items: list[str] = []
    for start in range(0, len(text), _PIECE_CHARS):
        items += scanner.feed(text[start : start + _PIECE_CHARS])
        if len(items) > at_most:
            break
    else:
        scanner.end()
        if scanner.state is not ScanState.ENDED:
            raise TransformFailed(name, scanner.reason or "it is no list")
    return [item_value(f"{name}.{index}", item) for index, item in enumerate(items)]


def list_value(items: Sequence[Value]) -> Value:
    """The list of values, as JSON."""
    texts = [value.text if value.kind == "json" else orjson.dumps(value.text).decode() for value in items]
    return Value(f"[{', '.join(texts)}]", "json", any(value.truncated for value in items), len(items))


def _listed(name: str, values: Sequence[Value], limit_bytes: int) -> Value:
    """The list of several choices' values. Raises: ValueTooLarge."""
    whole = list_value(values)
    _check_size(name, whole, limit_bytes)
    return whole


def _text(producer: Producer, reply: ProducedReply, choice: int) -> Value:
    return Value(reply.texts[choice], truncated=reply.is_truncated(choice))


def _strip(producer: Producer, reply: ProducedReply, choice: int) -> Value:
    return Value(reply.texts[choice].strip(), truncated=reply.is_truncated(choice))


def _json(producer: Producer, reply: ProducedReply, choice: int) -> Value:
    if producer.each:
        return _list(producer, reply, choice)
    selected = producer.path.select(find_json(reply.texts[choice]))
    return json_value(selected, truncated=reply.is_truncated(choice))


def _list(producer: Producer, reply: ProducedReply, choice: int) -> Value:
    """The list of an `each`, by the scanner that reads it from the stream; a truncated one as far as it goes."""
    truncated = reply.is_truncated(choice)
    scanner = ListScanner(producer.path.steps, limit_chars=max(1, len(reply.texts[choice])))
    items = scanner.feed(reply.texts[choice])
    if scanner.state is not ScanState.ENDED and not (truncated and scanner.state is ScanState.OPEN):
        scanner.end()
        raise NoValue(scanner.reason or "")
    return Value(f"[{', '.join(items)}]", "json", truncated, len(items))


def _regex(producer: Producer, reply: ProducedReply, choice: int) -> Value:
    if producer.pattern is None:
        raise NoValue("the output names no regex")
    return Value(producer.pattern.first(reply.texts[choice]), truncated=reply.is_truncated(choice))


def _code(producer: Producer, reply: ProducedReply, choice: int) -> Value:
    block = next(fenced_blocks(reply.texts[choice]), None)
    if block is None:
        raise NoValue("the reply holds no fenced code block")
    return Value(block.text, truncated=reply.is_truncated(choice) and not block.closed)


def _lines(producer: Producer, reply: ProducedReply, choice: int) -> Value:
    lines = [line for line in map(str.strip, reply.texts[choice].split("\n")) if line]
    if not lines:
        raise NoValue("the reply holds no line of text")
    return json_value(lines, truncated=reply.is_truncated(choice))


def _message(producer: Producer, reply: ProducedReply, choice: int) -> Value:
    message: bytes | dict[str, Any] = reply.messages[choice]
    try:
        text = message if isinstance(message, bytes) else orjson.dumps(message)
    except TypeError:
        raise NoValue("the message holds what JSON cannot say") from None
    return Value(text.decode("utf-8", "replace"), "json", reply.is_truncated(choice))


_APPLY: dict[Transform, Callable[[Producer, ProducedReply, int], Value]] = {
    Transform.TEXT: _text,
    Transform.JSON: _json,
    Transform.REGEX: _regex,
    Transform.STRIP: _strip,
    Transform.CODE: _code,
    Transform.LINES: _lines,
    Transform.MESSAGE: _message,
}
