"""The JSON inside a model's text: bare, in a fenced block, or behind some prose. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from gateway.variables.fences import fenced_blocks
from gateway.variables.values import NoValue, Value

_BRACKET = re.compile(r"[\[{]")
_MAX_STARTS = 256
"""Brackets of prose passed over before the document begins."""


class _NotJson(ValueError):
    pass


def _refuse(constant: str) -> object:
    raise _NotJson(constant)


_DECODER = json.JSONDecoder(parse_constant=_refuse)


def parse_json(text: str) -> object:
    """One JSON document, strictly: no NaN, no infinity, integers exact. Raises: NoValue."""
    try:
        return _DECODER.decode(text)
    except (ValueError, RecursionError):
        raise NoValue("the text is not JSON") from None


def find_json(text: str) -> object:
    """The JSON document of a text. Raises: NoValue. Linear in the text.

    It is the whole text, else the first fenced block that is JSON, else the first object or list anywhere.
    """
    for candidate in _candidates(text):
        try:
            return _DECODER.decode(candidate)
        except (ValueError, RecursionError):
            continue
    return _first_container(text)


def json_value(document: object, *, truncated: bool = False) -> Value:
    """A parsed document as a value: a string is its text, a list knows its items. Raises: NoValue."""
    if isinstance(document, str):
        return Value(document, "text", truncated)
    try:
        text = json.dumps(document, ensure_ascii=False, allow_nan=False)
    except (ValueError, RecursionError):
        raise NoValue("the JSON holds a number beyond all bounds") from None
    return Value(text, "json", truncated, len(document) if isinstance(document, list) else None)


def _candidates(text: str) -> Iterator[str]:
    yield text
    for block in fenced_blocks(text):
        if block.language in ("", "json", "jsonc", "json5"):
            yield block.text


def _first_container(text: str) -> object:
    """The search goes on where a candidate turned out to be no JSON, so little is read twice.

    Each of the decoder's errors counts lines from the text's beginning, so there is a bound on them.
    """
    bracket = _BRACKET.search(text)
    for _ in range(_MAX_STARTS):
        if bracket is None:
            break
        try:
            return _DECODER.raw_decode(text, bracket.start())[0]
        except json.JSONDecodeError as error:
            bracket = _BRACKET.search(text, max(error.pos, bracket.end()))
        except (ValueError, RecursionError):
            break
    raise NoValue("the reply holds no JSON")
