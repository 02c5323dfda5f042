"""Our own vocabulary as one table: a header, its body field, how its value is read.

A row is a data hint when its field is in `DATA_FIELDS`; a malformed one then fails the call, any other is
ignored and noted. Values come as text (headers, or strings in the body) or as JSON values (the body); both
are read by the same function, so `"plan, files"` and `["plan", "files"]` mean the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from typing import Final, TypeVar

from hints import formats, syntax
from hints.model import DATA_FIELDS, Mode, Objective, Output
from hints.syntax import Item, Malformed

OWN_BODY_KEY = "workflow"
"""The body key that holds our fields; it is ours, and must not reach an engine."""
HEADER_PREFIX: Final[bytes] = b"x-workflow-"


@dataclass(frozen=True, slots=True)
class OwnHint:
    """One row: `field` is the name in `Hint` and in the body's `workflow` object."""

    field: str
    header: str
    read: Callable[[object], object]
    """The field's value; raises `Malformed`."""
    example: str
    aliases: tuple[str, ...] = ()
    """Other spellings of `field` that are understood, as in the header so in the body."""
    is_list: bool = False
    """Several header lines are one list."""
    takes_params: bool = False

    @property
    def is_data(self) -> bool:
        """Whether a malformed value fails the call."""
        return self.field in DATA_FIELDS


def _text(value: object) -> str:
    if isinstance(value, str):
        return syntax.text(value)
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() <= 64:
        return str(value)
    raise Malformed("not-text", "the value is not text")


def _boolean(value: object) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        return syntax.boolean(value)
    if value in (0, 1):
        return value == 1
    raise Malformed("not-a-boolean", "the value is not a boolean")


def _integer(value: object) -> object:
    """Text read by the header grammar; JSON values as they are."""
    return syntax.integer(value) if isinstance(value, str) else value


def _deadline_ms(value: object) -> int:
    return formats.milliseconds(_integer(value))


def _expected_tokens(value: object) -> int:
    return formats.tokens(_integer(value))


_Word = TypeVar("_Word", bound=StrEnum)


def _word(value: object, words: type[_Word]) -> _Word:
    word = _text(value).lower()
    if word not in words.__members__.values():
        raise Malformed("unknown-value", f"the value is none of {', '.join(words)}")
    return words(word)


def _objective(value: object) -> Objective:
    return _word(value, Objective)


def _mode(value: object) -> Mode:
    return _word(value, Mode)


def _items(value: object) -> tuple[Item, ...]:
    if isinstance(value, str):
        return syntax.items(value)
    if not isinstance(value, list | tuple):
        raise Malformed("not-a-list", "the value is not a list of names")
    listed: list[Item] = []
    for member in value:
        listed += _members(member)
        if len(listed) > syntax.MAX_ITEMS:
            raise Malformed("too-many", f"the list has more than {syntax.MAX_ITEMS} items")
    return tuple(listed)


def _members(member: object) -> tuple[Item, ...]:
    """A member of a JSON list: text as in the header, or an object `{"name": ..., "json": ...}`."""
    if isinstance(member, str):
        return syntax.items(member)
    name = member.get("name") if isinstance(member, Mapping) else None
    if not isinstance(member, Mapping) or not isinstance(name, str):
        raise Malformed("not-a-name", "a member of the list is neither text nor an object with a name")
    params = tuple(_param(key, value) for key, value in member.items() if key != "name")
    return (Item(syntax.name(name), params),)


def _param(key: str, value: object) -> tuple[str, str | bool]:
    if isinstance(value, bool):
        return syntax.key(key), value
    if isinstance(value, str):
        return syntax.key(key), syntax.parameter(value)
    raise Malformed("not-a-parameter", "a parameter's value is neither text nor a boolean")


def _outputs(value: object) -> tuple[Output, ...]:
    outputs = tuple([Output(*item) for item in _items(value)])
    if len(outputs) > 1 and len({output.name for output in outputs}) < len(outputs):
        raise Malformed("named-twice", "an output is named twice")
    return outputs


def _names(value: object) -> tuple[str, ...]:
    return tuple(dict.fromkeys([item.name for item in _items(value)]))


OWN: tuple[OwnHint, ...] = (
    OwnHint("session", "x-workflow-session", _text, "run-42"),
    OwnHint("name", "x-workflow-name", _text, "map-reduce"),
    OwnHint("step", "x-workflow-step", _text, "reduce"),
    OwnHint("parent", "x-workflow-parent", _text, "run-41"),
    OwnHint("inputs", "x-workflow-inputs", _names, "plan, files.0", ("input",), is_list=True),
    OwnHint(
        "outputs",
        "x-workflow-outputs",
        _outputs,
        'plan, files;json="$.files[*]"',
        ("output",),
        is_list=True,
        takes_params=True,
    ),
    OwnHint("after", "x-workflow-after", _names, "plan, review", is_list=True),
    OwnHint("objective", "x-workflow-objective", _objective, "latency"),
    OwnHint("deadline_ms", "x-workflow-deadline-ms", _deadline_ms, "5000"),
    OwnHint("expected_tokens", "x-workflow-expected-tokens", _expected_tokens, "200"),
    OwnHint("mode", "x-workflow-mode", _mode, "deferred"),
    OwnHint("final", "x-workflow-final", _boolean, "?1"),
    OwnHint("idempotency_key", "idempotency-key", _text, "order-17-try"),
)

BY_FIELD: dict[str, OwnHint] = {spelling: row for row in OWN for spelling in (row.field, *row.aliases)}
"""Rows by their name in the body's `workflow` object."""

BY_HEADER: dict[bytes, OwnHint] = {
    name: row
    for row in OWN
    for name in (row.header.encode(), *(HEADER_PREFIX + alias.encode() for alias in row.aliases))
}
"""Rows by header name, lower case."""


def nearest_header(name: str) -> str | None:
    """The header of ours that `name` was probably meant to be."""
    return next(iter(get_close_matches(name, [row.header for row in OWN], n=1, cutoff=0.7)), None)


def nearest_field(name: str) -> str | None:
    """The body field of ours that `name` was probably meant to be."""
    spelled = name.lower().replace("-", "_")
    return next(iter(get_close_matches(spelled, [row.field for row in OWN], n=1, cutoff=0.6)), None)


_SEPARATORS = str.maketrans("()[]{}\"'", "        ")


def corrected_line(row: OwnHint, value: object, *, in_body: bool) -> str:
    """`value` as it should have been sent: repaired where that can be guessed, else the row's example."""
    repaired = _repaired(row, value if isinstance(value, str) else "")
    if in_body:
        return f'"{OWN_BODY_KEY}": {{"{row.field}": "{repaired.replace(chr(34), chr(92) + chr(34))}"}}'
    return f"{row.header}: {repaired}"


def _repaired(row: OwnHint, value: str) -> str:
    if not row.is_list:
        words = [str(word) for word in Mode]
        return next(iter(get_close_matches(value.strip().lower(), words, n=1)), row.example)
    if len(value) > syntax.MAX_TEXT_BYTES or ";" in value or "=" in value:
        return row.example
    parts = (part.split() for part in value.translate(_SEPARATORS).split(","))
    names = ("".join(char for char in "-".join(words) if syntax.NAME_PATTERN.match(char)) for words in parts)
    return ", ".join(dict.fromkeys(name for name in names if name)) or row.example
