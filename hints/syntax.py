"""The lenient grammar of hint values: single values, booleans, integers and lists with parameters.

Lenient means that what a person types by hand is understood; strict means that where RFC 9651 (structured
fields) accepts a value of the field's type - a token or string for texts and names, a boolean, an integer, a
list of tokens or strings - both readings agree. Two consequences are kept on purpose: a text is taken as sent,
so `a;b` is the text `a;b` and not a token with a parameter; a name is narrower than a token.

Every function takes text and either returns a value or raises `Malformed`; nothing else.
"""

from __future__ import annotations

import re
from typing import NamedTuple

NAME_PATTERN = re.compile(r"[A-Za-z0-9_.:/-]+")
"""A variable's or step's name in a list; an item of a list variable is `files.0`."""

MAX_TEXT_BYTES = 255
MAX_ITEMS = 1024
MAX_PARAMETER_CHARS = 4096
SPACE = " \t\r\n"

_FORBIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_PLAIN = re.compile(r"[!#-~]{1,255}")
_INTEGER = re.compile(r"[+-]?[0-9]{1,15}")
_KEY = re.compile(r"[A-Za-z*][A-Za-z0-9_.*-]*")
_MARK = re.compile(r"\\.|[\"\[\](){},;]", re.DOTALL)
_ESCAPE = re.compile(r"\\([\"\\])")
_CLOSER = {"[": "]", "(": ")", "{": "}"}
_BOOLEANS = {
    "?1": True,
    "1": True,
    "true": True,
    "yes": True,
    "?0": False,
    "0": False,
    "false": False,
    "no": False,
}


class Malformed(ValueError):
    """A value that is not understood. `code` is stable and goes into a note; the message is for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Item(NamedTuple):
    """One member of a list: a name and its parameters, in order; a parameter without a value is True."""

    name: str
    params: tuple[tuple[str, str | bool], ...] = ()


def text(raw: str) -> str:
    """The trimmed text as sent, surrounding quotes unwrapped. Raises `Malformed` (empty, too long, control)."""
    if _PLAIN.fullmatch(raw):
        return raw
    value = raw.strip(SPACE)
    if value[:1] == '"' and len(value) > 1 and value[-1] == '"':
        value = _unescaped(value[1:-1])
    return bounded(value)


def bounded(value: str) -> str:
    """`value` itself when it is 1 to 255 bytes of UTF-8 without control characters; else `Malformed`."""
    if not value:
        raise Malformed("empty", "the value is empty")
    if _FORBIDDEN.search(value):
        raise Malformed("control-character", "the value holds a control character")
    if len(value) > MAX_TEXT_BYTES or (
        not value.isascii() and len(value.encode("utf-8", "replace")) > MAX_TEXT_BYTES
    ):
        raise Malformed("too-long", f"the value is longer than {MAX_TEXT_BYTES} bytes")
    return value


def boolean(raw: str) -> bool:
    """`?1`, `1`, `true`, `yes` and their opposites, in any case; parameters are ignored."""
    value = _BOOLEANS.get(_bare(raw).lower())
    if value is None:
        raise Malformed("not-a-boolean", "the value is none of ?1, ?0, true, false, yes, no, 1, 0")
    return value


def integer(raw: str) -> int:
    """A decimal integer of up to 15 digits; parameters are ignored."""
    value = _bare(raw)
    if not _INTEGER.fullmatch(value):
        raise Malformed("not-an-integer", "the value is not an integer")
    return int(value)


def items(raw: str) -> tuple[Item, ...]:
    """A list split at commas outside quotes and brackets; empty members are skipped, order and doubles kept."""
    value = raw.strip(SPACE)
    if NAME_PATTERN.fullmatch(value):
        return (Item(value if len(value) <= MAX_TEXT_BYTES else bounded(value)),)
    members = tuple(_item(part) for part in _split(value, ",") if part.strip(SPACE))
    if len(members) > MAX_ITEMS:
        raise Malformed("too-many", f"the list has more than {MAX_ITEMS} items")
    return members


def name(raw: str) -> str:
    """One name of a list, quotes unwrapped. Raises `Malformed` for what `NAME_PATTERN` does not match."""
    value = text(raw)
    if not NAME_PATTERN.fullmatch(value):
        raise Malformed("not-a-name", f"{value!r} is not a name: use letters, digits and _ . : / - only")
    return value


def key(raw: str) -> str:
    """A parameter's key, in lower case."""
    if len(raw) > MAX_TEXT_BYTES or not _KEY.fullmatch(raw):
        raise Malformed("not-a-parameter", f"{raw[:MAX_TEXT_BYTES]!r} is not a parameter: write key or key=value")
    return raw.lower()


def parameter(value: str) -> str:
    """A parameter's text as it is: at most 4096 characters (a JSON path may be long), no control character."""
    if len(value) > MAX_PARAMETER_CHARS:
        raise Malformed("not-a-parameter", f"a parameter's value has more than {MAX_PARAMETER_CHARS} characters")
    if _FORBIDDEN.search(value):
        raise Malformed("not-a-parameter", "a parameter's value holds a control character")
    return value


def _item(part: str) -> Item:
    head, *rest = _split(part, ";")
    params: dict[str, str | bool] = {}
    params.update(_param(param) for param in rest)
    return Item(name(head), tuple(params.items()))


def _param(part: str) -> tuple[str, str | bool]:
    left, equals, right = part.partition("=")
    named = key(left.strip(SPACE))
    if not equals:
        return named, True
    bare = right.strip(SPACE)
    if bare in ("?1", "?0"):
        return named, bare == "?1"
    if not bare:
        raise Malformed("not-a-parameter", f"the parameter {named} has no value after its =")
    quoted = len(bare) > 1 and bare[0] == bare[-1] == '"'
    return named, parameter(_unescaped(bare[1:-1]) if quoted else bare)


def _split(value: str, separator: str) -> list[str]:
    """Parts of `value` between separators that stand outside quotes and brackets."""
    parts: list[str] = []
    closers: list[str] = []
    start = 0
    quoted = False
    for mark in _MARK.finditer(value):
        char = mark.group()
        if char == '"':
            quoted = not quoted
        elif quoted:
            continue
        elif char in _CLOSER:
            closers.append(_CLOSER[char])
        elif char in ")]}":
            if not closers or closers.pop() != char:
                raise Malformed("unbalanced", f"{char} closes nothing")
        elif char == separator and not closers:
            parts.append(value[start : mark.start()])
            start = mark.end()
    if quoted or closers:
        raise Malformed("unbalanced", f"{'a quote' if quoted else 'a bracket'} is not closed")
    parts.append(value[start:])
    return parts


def _bare(raw: str) -> str:
    return raw.partition(";")[0].strip(SPACE)


def _unescaped(value: str) -> str:
    return _ESCAPE.sub(r"\1", value) if "\\" in value else value
