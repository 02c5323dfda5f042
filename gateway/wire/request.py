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
from msgspec import Struct

from gateway.errors import BadRequest, ForbiddenField, TooLarge, Unsupported
from gateway.wire.routes import Route, Shape

OURS = frozenset({"priority", "session_id", "cache_salt", "request_id", "workflow"})
"""Keys the gateway sets or consumes; a client's own values never reach a worker."""
DROPPED = OURS | {"vllm_xargs"}
REFUSED = {
    "kv_transfer_params": "it moves KV cache between workers and is the gateway's business",
    "chat_template": "templates run inside the engine; configure them on the worker",
    "media_io_kwargs": "it changes how the worker opens media; configure it on the worker",
    "mm_processor_kwargs": "it changes how the worker opens media; configure it on the worker",
    "prompt_embeds": "serialised tensors are not accepted from clients",
}
_INTEGER_OF_19_DIGITS = re.compile(rb"[0-9]{19}")
_I64, _U64 = -(2**63), 2**64


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """Bounds on what a body may ask for."""

    json_depth: int = 128
    n: int = 128
    remote_images: bool = False


class Request(Struct, frozen=True):
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


def parse_request(route: Route, raw: bytes, limits: BodyLimits) -> Request:
    """Parse and check one body. Raises: BadRequest, ForbiddenField, TooLarge, Unsupported."""
    try:
        fields = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        if "depth limit" in str(error):
            raise TooLarge(f"The body nests deeper than {limits.json_depth} levels.", code="too_deep") from None
        raise BadRequest(f"The body is not valid JSON: {error}", code="invalid_json") from None
    if type(fields) is not dict:
        raise BadRequest("The body must be a JSON object.", code="invalid_json")
    if raw.count(b"[") + raw.count(b"{") > limits.json_depth and _deeper_than(fields, limits.json_depth):
        raise TooLarge(f"The body nests deeper than {limits.json_depth} levels.", code="too_deep")
    _refuse_forbidden(fields)
    if not limits.remote_images and any(mark in raw for mark in _MEDIA_MARKS):
        _refuse_remote_images(fields)
    if route.shape is Shape.RESPONSES:
        _refuse_stateful(fields)
    return Request(
        route=route,
        raw=raw,
        fields=fields,
        model=_model(fields),
        stream=route.generates and fields.get("stream") is True,
        n=_choices(fields, limits.n),
        max_tokens=_max_tokens(fields),
    )


def upstream_body(request: Request, ours: Mapping[str, Any], inject_usage: bool) -> bytes:
    """The body for the worker: the client's, without dropped keys, with `ours` set.

    `inject_usage` asks for a usage event at the end of the stream. Raises: BadRequest for integers beyond 64
    bits where the body has to be written anew.
    """
    fields = request.fields
    splice = dict(ours)
    if inject_usage:
        options = fields.get("stream_options")
        splice["stream_options"] = {**(options if isinstance(options, dict) else {}), "include_usage": True}
    if DROPPED.isdisjoint(fields) and fields.keys().isdisjoint(splice):
        if not splice:
            return request.raw
        head = orjson.dumps(splice)
        brace = request.raw.index(b"{") + 1
        separator = b"," if fields else b""
        return b"".join((head[:-1], separator, request.raw[brace:]))
    _refuse_wide_integers(request.raw)
    kept = {key: value for key, value in fields.items() if key not in DROPPED}
    kept.update(splice)
    return orjson.dumps(kept)


def _model(fields: dict[str, Any]) -> str | None:
    model = fields.get("model")
    if model is None:
        return None
    if not isinstance(model, str) or not model:
        raise BadRequest("`model` must be a non-empty string.", param="model")
    return model


def _choices(fields: dict[str, Any], limit: int) -> int:
    n = fields.get("n")
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


def _refuse_forbidden(fields: dict[str, Any]) -> None:
    if not REFUSED.keys().isdisjoint(fields):
        for key in REFUSED.keys() & fields.keys():
            if fields[key] is not None:
                raise ForbiddenField(f"`{key}` is not accepted: {REFUSED[key]}.", param=key)
    template = fields.get("chat_template_kwargs")
    if isinstance(template, dict) and not template.keys().isdisjoint(("chat_template", "tokenize")):
        raise ForbiddenField("`chat_template_kwargs` may not set the template.", param="chat_template_kwargs")


def _refuse_remote_images(fields: dict[str, Any]) -> None:
    for turns in (fields.get("messages"), fields.get("input")):
        if not isinstance(turns, list):
            continue
        for turn in turns:
            content = turn.get("content") if isinstance(turn, dict) else None
            if isinstance(content, list) and any(_is_remote(part) for part in content):
                raise ForbiddenField(
                    "Media by URL is not fetched here: send it inline as a data: URL, "
                    "or set `[request] allow_remote_images = true`.",
                    param="messages",
                    code="remote_media",
                )


_MEDIA_KEYS = ("image_url", "video_url", "audio_url", "source", "file")
_MEDIA_MARKS = (b'_url"', b'"source"', b'"file"', b"\\u")
"""A key of those, or an escape that could spell one; without it no part has to be looked at."""


def _is_remote(part: object) -> bool:
    """Whether a content part names media that the engine would have to fetch or open."""
    if not isinstance(part, dict):
        return False
    for key in _MEDIA_KEYS:
        value = part.get(key)
        url = value.get("url") if isinstance(value, dict) else value
        if isinstance(url, str) and not url.startswith("data:"):
            return True
    return False


def _refuse_stateful(fields: dict[str, Any]) -> None:
    for key in ("previous_response_id", "conversation"):
        if fields.get(key) is not None:
            raise Unsupported(
                f"`{key}` needs stored responses, which this gateway does not keep: send the whole input instead.",
                param=key,
            )
    if fields.get("background") is True:
        raise Unsupported("`background` is not supported: leave it out and wait for the reply.", param="background")


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


def _refuse_wide_integers(raw: bytes) -> None:
    """orjson reads integers beyond 64 bits as floats: they would change on the way."""
    if _INTEGER_OF_19_DIGITS.search(raw) is None:
        return

    def check(digits: str) -> int:
        number = int(digits) if len(digits) <= 20 else _U64
        if not _I64 <= number < _U64:
            raise BadRequest("The body holds an integer beyond 64 bits.", code="integer_too_wide")
        return number

    json.loads(raw, parse_int=check)
