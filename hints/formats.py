"""The formats foreign hints come in, each read into plain values. All of it is untrusted.

Functions take text or a JSON value, return values within bounds, and raise `Malformed` for anything else.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from urllib.parse import unquote

from hints.syntax import SPACE, Malformed, bounded

MAX_TOOLS = 32
MAX_BAGGAGE_MEMBERS = 180
MAX_JSON_CHARS = 16_384
PRIORITY_BOUND = 10_000
MAX_TOKENS = 10_000_000
MAX_SECONDS = 30 * 86_400

_INTEGER = re.compile(r"[ \t]*[+-]?[0-9]{1,15}[ \t]*")
_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?")
_DOTTED_RUN = re.compile(
    r"\d{8}T\d{6,12}Z([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})", re.IGNORECASE
)


def ident(value: object) -> str:
    """An id or a name: 1 to 255 bytes without control characters; numbers are taken as their digits."""
    if isinstance(value, str):
        return bounded(value.strip(SPACE))
    if isinstance(value, int) and not isinstance(value, bool):
        return bounded(str(value) if value.bit_length() < 64 else "")
    raise Malformed("not-text", "the value is not text")


def whole(value: object) -> int:
    """A non-negative integer of at most 15 digits, as JSON number or digits."""
    return _between(value, 0, 10**15)


def tokens(value: object) -> int:
    """A number of tokens: 1 to ten million, so that a wild one cannot starve its own call."""
    return _between(value, 1, MAX_TOKENS)


def milliseconds(value: object) -> int:
    """A number of milliseconds: 1 to 30 days."""
    return _between(value, 1, MAX_SECONDS * 1000)


def higher_first(value: object) -> int:
    """A priority whose larger values are more urgent, cut to the common scale's bounds."""
    return max(-PRIORITY_BOUND, min(PRIORITY_BOUND, _signed(value)))


def lower_first(value: object) -> int:
    """A priority whose smaller values are more urgent, turned round."""
    return -higher_first(value)


def flag(value: object) -> bool:
    """JSON true and false, or their names and digits."""
    word = value if isinstance(value, bool) else str(value).strip(SPACE).lower()
    if word in (True, "true", "1", "?1", "yes"):
        return True
    if word in (False, "false", "0", "?0", "no"):
        return False
    raise Malformed("not-a-boolean", "the value is not a boolean")


def seconds(value: object) -> float:
    """A finite number of seconds above zero, at most 30 days."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise Malformed("not-a-number", "the value is not a number")
    try:
        number = float(value)
    except (ValueError, OverflowError):
        raise Malformed("not-a-number", "the value is not a number") from None
    if not math.isfinite(number) or not 0 < number <= MAX_SECONDS:
        raise Malformed("out-of-range", "the value is not a usable number of seconds")
    return number


def member(value: object, key: str) -> object:
    """`value[key]` of a JSON object, None when there is no such key."""
    if not isinstance(value, Mapping):
        raise Malformed("not-an-object", "the value is not an object")
    return value.get(key)


def traceparent(value: object) -> tuple[str, str]:
    """Trace id and parent span id of a W3C `traceparent` (Trace Context, level 2)."""
    match = _TRACEPARENT.fullmatch(ident(value))
    if match is None or match[1] == "ff" or (match[1] == "00" and match[4]):
        raise Malformed("not-a-traceparent", "the value is not a traceparent")
    if match[2] == "0" * 32 or match[3] == "0" * 16:
        raise Malformed("not-a-traceparent", "the trace or span id is zero")
    return match[2], match[3]


def baggage(value: object) -> Iterator[tuple[str, str]]:
    """Keys and percent-decoded values of W3C `baggage`; properties are dropped, at most 180 members read."""
    if not isinstance(value, str):
        raise Malformed("not-text", "the value is not text")
    for entry in value.split(",", MAX_BAGGAGE_MEMBERS)[:MAX_BAGGAGE_MEMBERS]:
        key, equals, rest = entry.partition("=")
        if equals:
            yield key.strip(SPACE), unquote(rest.partition(";")[0].strip(SPACE))


def dotted_order(value: object) -> tuple[str, str]:
    """First and last run id of LangSmith's dotted order: the trace, and the run that makes the call."""
    if not isinstance(value, str):
        raise Malformed("not-text", "the value is not text")
    first, _, _ = value.strip(SPACE).partition(".")
    last = value.strip(SPACE).rpartition(".")[2]
    root, run = _DOTTED_RUN.fullmatch(first), _DOTTED_RUN.fullmatch(last)
    if root is None or run is None:
        raise Malformed("not-a-dotted-order", "the value is not a dotted order")
    return root[1], run[1]


def tool_durations(value: object) -> tuple[tuple[str, int], ...]:
    """`Bash=742;Read=9`: percent-encoded tool names and milliseconds, in the order the results came."""
    if not isinstance(value, str):
        raise Malformed("not-text", "the value is not text")
    pairs = (entry.partition("=") for entry in value.split(";", MAX_TOOLS)[:MAX_TOOLS] if entry.strip(SPACE))
    return tuple((ident(unquote(name)), whole(duration)) for name, _, duration in pairs)


def path(value: object) -> tuple[str, str | None]:
    """A call's own path and its parent's: `/a/b` is `/a/b` below `/a`; `/a` has no parent."""
    own = "/" + ident(value).strip("/")
    above = own.rpartition("/")[0]
    return own, above or None


def json_object(value: object) -> Mapping[str, object]:
    """A JSON object in text."""
    if not isinstance(value, str) or len(value) > MAX_JSON_CHARS:
        raise Malformed("not-json", "the value is not JSON, or too long")
    try:
        parsed = json.loads(value)
    except (ValueError, RecursionError):
        raise Malformed("not-json", "the value is not JSON") from None
    if not isinstance(parsed, dict):
        raise Malformed("not-an-object", "the value is not a JSON object")
    return parsed


def _between(value: object, lowest: int, highest: int) -> int:
    number = _signed(value)
    if not lowest <= number <= highest:
        raise Malformed("out-of-range", f"the value is not between {lowest} and {highest}")
    return number


def _signed(value: object) -> int:
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        return int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) >= 10**15:
        raise Malformed("not-an-integer", "the value is not an integer")
    return value
