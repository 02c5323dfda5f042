"""Headers and body of one request -> what its caller said (`Hint`) and what was ignored (notes). Pure.

Precedence, field by field: our body fields, our headers, then the foreign conventions in the order of their
table. Runs for every call, so a request without hints costs one look-up per header name and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

from hints import foreign, own
from hints.foreign import Reading
from hints.model import NO_HINT, Fields, Hint, HintError, Mode, Parsed
from hints.own import OWN_BODY_KEY, OwnHint
from hints.report import joined_notes, understood
from hints.syntax import Malformed

__all__ = ["OWN_BODY_KEY", "parse"]

NOTHING = Parsed(NO_HINT)
"""The answer for every request that says nothing."""

MAX_NOTES = 16
MAX_NAME = 64
_MAX_KEPT = 1024
_MAX_KEPT_LINES = 16
_MAX_KEPT_BYTES = 1024
_MAX_SILENT = 1024

_KNOWN = frozenset(own.BY_HEADER) | frozenset(foreign.HEADERS)
_BODY_KEYS = frozenset(foreign.BODY) | {OWN_BODY_KEY}
_SUFFIXES = tuple(foreign.SUFFIXES)
_PREFIX = own.HEADER_PREFIX
_SILENT: set[bytes] = set()
"""Header names that say nothing; bounded in number and length, whatever clients send."""
_KEPT: dict[tuple[tuple[bytes, bytes], ...], Parsed] = {}
"""What sets of headers were understood to say; bounded in number and size too."""
_NOT_IN_A_NOTE = re.compile(r"[^A-Za-z0-9_.:/-]")

_NOT_ASCII = Malformed("not-ascii", "the value is not ASCII (send it in the body's `workflow` object)")
_REPEATED = Malformed("repeated", "the header is sent twice with different values")


def parse(headers: Sequence[tuple[bytes, bytes]], body: Mapping[str, Any] | None = None) -> Parsed:
    """What the caller said, where it said it, and notes on what was ignored.

    `headers`: names in lower case, as ASGI gives them. `body`: the parsed JSON object, None without one.
    Neither is changed. Raises `HintError` when a data hint is malformed or no session is known for it.
    """
    lines = [line for line in headers if line[0] not in _SILENT and (line[0] in _KNOWN or _may_hint(line[0]))]
    if body is not None and not _BODY_KEYS.isdisjoint(body):
        return _read(lines, body)
    if not lines:
        return NOTHING
    key = tuple(lines)
    return _KEPT.get(key) or _read_and_keep(key)


def _read_and_keep(lines: tuple[tuple[bytes, bytes], ...]) -> Parsed:
    """Kept because a client repeats itself: SDK headers never change, an agent's turns share their hints."""
    parsed = _read(lines, {})
    if len(lines) <= _MAX_KEPT_LINES and sum([len(name) + len(value) for name, value in lines]) <= _MAX_KEPT_BYTES:
        if len(_KEPT) >= _MAX_KEPT:
            _KEPT.clear()
        _KEPT[lines] = parsed
    return parsed


def _may_hint(name: bytes) -> bool:
    """Whether a header of no known name may say something; names that do not are kept, as they come every time."""
    if name.startswith(_PREFIX) or _is_vendors(name):
        return True
    if len(name) <= MAX_NAME:
        if len(_SILENT) >= _MAX_SILENT:
            _SILENT.clear()
        _SILENT.add(name)
    return False


def _is_vendors(name: bytes) -> bool:
    return name.startswith(b"x-") and name.endswith(_SUFFIXES) and len(name) <= MAX_NAME


def _read(lines: Sequence[tuple[bytes, bytes]], body: Mapping[str, Any]) -> Parsed:
    draft = _Draft()
    draft.read_own_body(body.get(OWN_BODY_KEY))
    draft.read_own_headers([line for line in lines if line[0] in own.BY_HEADER])
    values: list[tuple[Reading, object]] = []
    for name, raw in lines:
        if name in own.BY_HEADER:
            continue
        if name.startswith(_PREFIX):
            draft.note_unknown("unknown-header", name.decode("ascii", "replace"), own.nearest_header)
        else:
            values += _header_values(name, raw)
    if body:
        values += _body_values(body)
    draft.read_foreign(values)
    return draft.finished()


class _Draft:
    """A hint being put together: for each field the first that says it wins."""

    def __init__(self) -> None:
        self.fields: dict[str, object] = {}
        self.sources: dict[str, str] = {}
        self.notes: dict[str, None] = {}

    def take(self, said: Fields, source: str) -> None:
        for field, value in said.items():
            if field not in self.sources:
                self.fields[field] = value
                self.sources[field] = source

    def note(self, *parts: str) -> None:
        if len(self.notes) < MAX_NOTES:
            self.notes[";".join(parts)] = None

    def read_own_body(self, fields: object) -> None:
        if fields is None:
            return
        if not isinstance(fields, Mapping):
            raise HintError(
                OWN_BODY_KEY, "The body's `workflow` is not an object.", '"workflow": {"session": "run-42"}'
            )
        for key, value in fields.items():
            row = own.BY_FIELD.get(key)
            if row is None:
                self.note_unknown("unknown-field", key, own.nearest_field)
            elif value is not None:
                self.read_own(row, value, f"{OWN_BODY_KEY}.{row.field}")

    def read_own_headers(self, lines: Iterable[tuple[bytes, bytes]]) -> None:
        said: dict[str, tuple[OwnHint, bytes]] = {}
        for name, raw in lines:
            row = own.BY_HEADER[name]
            first = said.get(row.field)
            said[row.field] = (row, raw if first is None else self.joined(row, first[1], raw))
        for field, (row, raw) in said.items():
            if field in self.sources:
                continue
            try:
                self.read_own(row, raw.decode("ascii"), row.header)
            except UnicodeDecodeError:
                self.ignore(row, _NOT_ASCII, "", row.header)

    def joined(self, row: OwnHint, first: bytes, second: bytes) -> bytes:
        """Several lines of a list are one list; of anything else the first counts."""
        if row.is_list:
            return first + b", " + second
        if first != second:
            self.ignore(row, _REPEATED, "", row.header)
        return first

    def read_own(self, row: OwnHint, value: object, source: str) -> None:
        try:
            read = row.read(value)
        except Malformed as fault:
            self.ignore(row, fault, value, source)
            return
        if row.is_list and not row.takes_params and isinstance(value, str) and ";" in value:
            self.note("parameters-ignored", source)
        self.fields[row.field] = read
        self.sources[row.field] = source

    def ignore(self, row: OwnHint, fault: Malformed, value: object, source: str) -> None:
        """A malformed value: the end of the call for a data hint, a note for any other."""
        if row.is_data:
            line = own.corrected_line(row, value, in_body=source != row.header)
            raise HintError(row.field, f"{source} is not understood: {fault}.", line) from fault
        self.note("ignored", source, f"reason={fault.code}")

    def note_unknown(self, code: str, name: str, nearest: Callable[[str], str | None]) -> None:
        """Names the nearest known one too; looks for it only while there is room for the note."""
        shown = _NOT_IN_A_NOTE.sub("?", name[:MAX_NAME])
        meant = nearest(shown) if len(self.notes) < MAX_NOTES else None
        self.note(code, shown, *([] if meant is None else [f"did-you-mean={meant}"]))

    def read_foreign(self, values: list[tuple[Reading, object]]) -> None:
        for reading, value in sorted(values, key=_rank):
            try:
                self.take(reading.read(value), reading.source)
            except Malformed as fault:
                self.note("ignored", reading.source, f"reason={fault.code}")

    def finished(self) -> Parsed:
        notes = tuple(self.notes)
        noted = joined_notes(notes)
        if not self.sources:
            return Parsed(NO_HINT, notes, noted=noted) if notes else NOTHING
        hint = Hint(**cast(Fields, self.fields), sources=tuple(self.sources.items()))
        if hint.session is None and hint.has_data:
            raise _sessionless(hint, notes)
        return Parsed(hint, notes, understood(hint), noted)


def _header_values(name: bytes, raw: bytes) -> list[tuple[Reading, object]]:
    """What the table has to say about one header, with its value."""
    readings = foreign.HEADERS.get(name) or _by_suffix(name)
    if raw.isascii():
        value = raw.decode("ascii")
        return [(reading, value) for reading in readings]
    return [(_not_ascii(reading), None) for reading in readings]


def _body_values(body: Mapping[str, Any]) -> list[tuple[Reading, object]]:
    """What the table has to say about the body's fields, with their values; null is not said."""
    found = (
        (reading, _at(body, path))
        for key in _BODY_KEYS.intersection(body)
        for path, reading in foreign.BODY.get(key, ())
    )
    return [(reading, value) for reading, value in found if value is not None]


def _by_suffix(name: bytes) -> tuple[Reading, ...]:
    reading = next(reading for suffix, reading in foreign.SUFFIXES.items() if name.endswith(suffix))
    return (reading._replace(source=name.decode("ascii", "replace")),)


def _not_ascii(reading: Reading) -> Reading:
    def refuse(_: object) -> Fields:
        raise Malformed("not-ascii", "the value is not ASCII")

    return reading._replace(read=refuse)


def _at(body: Mapping[str, Any], path: tuple[str, ...]) -> object:
    """The value at `path`; None where it leads nowhere."""
    value: object = body
    for key in path:
        if not isinstance(value, Mapping):
            return None
        value = value.get(key)
    return value


def _rank(entry: tuple[Reading, object]) -> int:
    return entry[0].rank


def _sessionless(hint: Hint, notes: tuple[str, ...]) -> HintError:
    said = [field for field in ("inputs", "outputs", "after") if getattr(hint, field)]
    if hint.mode is Mode.DEFERRED:
        said.append("mode")
    ignored = [note for note in notes if note.startswith("ignored;") and "session" in note]
    why = f" The session sent was not understood ({ignored[0]})." if ignored else ""
    message = f"{' and '.join(said)} need{'s' if len(said) == 1 else ''} a session.{why}"
    return HintError("session", message, "x-workflow-session: run-42")
