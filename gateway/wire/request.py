"""A client's body: parsed once, checked, and turned into the body a worker gets. Pure.

Nothing is re-serialised unless a key of ours has to be replaced or one of the client's has to go: otherwise
our keys are spliced in behind the opening brace, and every other byte travels as it came.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.errors import BadRequest, TooLarge
from gateway.structs import Frozen
from gateway.wire.forbidden import STEERING, refuse_media, refuse_stateful, refuse_steering
from gateway.wire.routes import Route, Shape

OURS = frozenset({"priority", "session_id", "cache_salt", "request_id", "workflow"})
"""Keys the gateway sets or consumes; a client's own values never reach a worker."""
DROPPED = OURS | {"vllm_xargs", "background"}
_INTEGER_OF_19_DIGITS = re.compile(rb"[0-9]{19}")
_I64, _U64 = -(2**63), 2**64
_MODEL_CHARS = 512
_VALUES_PER_CONTAINER = 20
_SURELY_FEW_BYTES = 64 << 10
"""A shorter body is not worth counting."""


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """Bounds on what a body may ask for."""

    json_depth: int = 128
    json_containers: int = 50_000
    """Objects and lists; values of all kinds may be `_VALUES_PER_CONTAINER` times as many."""
    n: int = 128
    remote_images: bool = False


class Request(Frozen):
    """One parsed body. `raw` is what the client sent, `fields` its one parse."""

    route: Route
    raw: bytes
    fields: dict[str, Any]
    model: str | None
    stream: bool
    n: int
    max_tokens: int | None

    @property
    def wants_usage(self) -> bool:
        """Whether the client itself asked for the usage event of a stream."""
        options = self.fields.get("stream_options")
        return isinstance(options, dict) and options.get("include_usage") is True

    @property
    def in_background(self) -> bool:
        """Whether a response is asked for in the background."""
        return self.route.shape is Shape.RESPONSES and self.fields.get("background") is True


def parse_request(route: Route, raw: bytes, limits: BodyLimits) -> Request:
    """Parse and check one body. Raises: BadRequest, ForbiddenField, TooLarge, Unsupported."""
    if len(raw) > _SURELY_FEW_BYTES:
        _refuse_many_values(raw, limits.json_containers)
    try:
        fields = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        if "depth limit" in str(error):
            raise _too_deep(limits) from None
        raise BadRequest(f"The body is not valid JSON: {error}", code="invalid_json") from None
    if type(fields) is not dict:
        raise BadRequest("The body must be a JSON object.", code="invalid_json")
    if not _is_plain(fields):
        if _containers(raw) > limits.json_depth and _deeper_than(fields, limits.json_depth):
            raise _too_deep(limits)
        refuse_media(fields, limits.remote_images)
    if not STEERING.isdisjoint(fields):
        refuse_steering(fields)
    if route.shape is Shape.RESPONSES:
        refuse_stateful(fields)
    stream = route.generates and fields.get("stream") is True
    n = _choices(fields["n"], limits.n) if "n" in fields else 1
    return Request(route, raw, fields, _model(fields), stream, n, _max_tokens(fields))


def _is_plain(fields: dict[str, Any]) -> bool:
    """Whether a body holds settings and messages of plain text only: nothing nests in it, nothing names media."""
    for key, value in fields.items():
        kind = type(value)
        if kind is list and key == "messages":
            for message in value:
                if type(message) is not dict or len(message) != 2:
                    return False
                if type(message.get("role")) is not str or type(message.get("content")) is not str:
                    return False
        elif kind is list or kind is dict:
            return False
    return True


def upstream_body(request: Request, ours: Mapping[str, Any], inject_usage: bool) -> bytes:
    """The body for the worker: the client's, without dropped keys, with `ours` set.

    `inject_usage` asks for a usage event at the end of the stream. Raises: BadRequest for integers beyond 64
    bits where the body has to be written anew.
    """
    fields = request.fields
    if not ours and not inject_usage and DROPPED.isdisjoint(fields):
        return request.raw
    splice = dict(ours)
    if inject_usage:
        options = fields.get("stream_options")
        splice["stream_options"] = {**(options if isinstance(options, dict) else {}), "include_usage": True}
    if DROPPED.isdisjoint(fields) and fields.keys().isdisjoint(splice):
        head = orjson.dumps(splice)
        brace = request.raw.index(b"{") + 1
        separator = b"," if fields else b""
        return b"".join((head[:-1], separator, request.raw[brace:]))
    refuse_wide_integers(request.raw)
    kept = {key: value for key, value in fields.items() if key not in DROPPED}
    kept.update(splice)
    return orjson.dumps(kept)


def _model(fields: dict[str, Any]) -> str | None:
    model = fields.get("model")
    if model is None:
        return None
    if not isinstance(model, str) or not model:
        raise BadRequest("`model` must be a non-empty string.", param="model")
    if len(model) > _MODEL_CHARS:
        raise BadRequest(f"`model` is longer than {_MODEL_CHARS} characters.", param="model")
    return model


def _choices(n: object, limit: int) -> int:
    if n is None:
        return 1
    if type(n) is not int or n < 1:
        raise BadRequest("`n` must be a positive integer.", param="n")
    if n > limit:
        raise BadRequest(f"`n` may be at most {limit} here.", param="n", code="n_too_large")
    return n


def _max_tokens(fields: dict[str, Any]) -> int | None:
    for key in ("max_completion_tokens", "max_tokens", "max_output_tokens"):
        value = fields.get(key)
        if type(value) is int and value > 0:
            return value
    return None


def _refuse_many_values(raw: bytes, limit: int) -> None:
    """Bound the objects a body becomes, and the microseconds each of them costs, before they exist.

    What is inside of strings does not count. There are at most two strings, of two quotes each, per value.
    """
    values = limit * _VALUES_PER_CONTAINER
    if _containers(raw) <= limit and raw.count(b",") <= values:
        return
    bare = raw.replace(b"\\\\", b"").replace(b'\\"', b"")
    if bare.count(b'"') <= 4 * values:
        bare = b"".join(bare.split(b'"')[::2])
        if _containers(bare) <= limit and bare.count(b",") <= values:
            return
    raise TooLarge(
        f"The body holds more than {limit} objects and lists, or {values} values ([limits] json_containers).",
        code="too_many_values",
    )


def _containers(text: bytes) -> int:
    return text.count(b"[") + text.count(b"{")


def _too_deep(limits: BodyLimits) -> TooLarge:
    message = f"The body nests deeper than {limits.json_depth} levels ([limits] json_depth)."
    return TooLarge(message, code="too_deep")


def _deeper_than(value: object, limit: int) -> bool:
    """Whether containers nest more than `limit` deep; walks level by level, so it is bounded by the body."""
    level: list[object] = [value]
    for _ in range(limit + 1):
        below: list[object] = []
        for item in level:
            inner = item.values() if isinstance(item, dict) else item if isinstance(item, list) else ()
            below.extend(child for child in inner if isinstance(child, dict | list))
        if not below:
            return False
        level = below
    return True


def refuse_wide_integers(raw: bytes) -> None:
    """orjson reads integers beyond 64 bits as floats: written anew, they would change. Raises: BadRequest."""
    if _INTEGER_OF_19_DIGITS.search(raw) is None:
        return

    def check(digits: str) -> int:
        number = int(digits) if len(digits) <= 20 else _U64
        if not _I64 <= number < _U64:
            raise BadRequest("The body holds an integer beyond 64 bits.", code="integer_too_wide")
        return number

    json.loads(raw, parse_int=check)
