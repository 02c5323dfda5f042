"""A JSON list read while it streams: each item as soon as it is complete, as its exact text. Pure.

Linear in the text whatever its cuts, and holds one item. Values beside the way to the list are skipped by their
brackets alone; every item is checked to be JSON.
"""

from __future__ import annotations

import re
from enum import StrEnum

from gateway.variables.json_text import parse_json
from gateway.variables.json_tokens import PUNCTUATION, JsonTokens
from gateway.variables.values import VALUE_LIMIT_BYTES, NoValue

_BRACKET = re.compile(r"[\[{]")
_SCALAR = re.compile(r"-?[0-9][0-9.eE+-]*+|true|false|null")
_BLANK = " \t\n\r"
_DEEPER = {"[": 1, "{": 1, "]": -1, "}": -1}


class ScanState(StrEnum):
    """Where a scan is."""

    SEARCHING = "searching"
    """No list yet."""
    OPEN = "open"
    """Inside the list."""
    ENDED = "ended"
    FAILED = "failed"
    """There is no such list, or it is broken; see `reason`."""


class ListScanner:
    """Reads the items of the list at `steps` in the first JSON document of a text, which prose may surround.

    Members of one object are taken to have different names: the first that fits is followed. Text that only
    looked like JSON is passed over, unless an item of it was given out.
    """

    __slots__ = (
        "_after_colon",
        "_depth",
        "_index",
        "_inside",
        "_item",
        "_item_chars",
        "_key",
        "_level",
        "_limit_chars",
        "_skip",
        "_steps",
        "_tokens",
        "count",
        "reason",
        "state",
    )

    def __init__(self, steps: tuple[str | int, ...] = (), limit_chars: int = VALUE_LIMIT_BYTES) -> None:
        """`steps` as in `Path.steps`; an item, or a string on the way, may have `limit_chars`."""
        self._steps = steps
        self._limit_chars = limit_chars
        self.state = ScanState.SEARCHING
        self.reason: str | None = None
        self.count = 0
        """Items given out so far."""
        self._tokens = JsonTokens()
        self._inside = False
        self._level = 0
        self._skip = 0
        self._enter()

    def feed(self, piece: str) -> list[str]:
        """The items that are complete with this piece, in order; what follows the list is ignored."""
        items: list[str] = []
        at = 0
        while at < len(piece) and self.state in (ScanState.SEARCHING, ScanState.OPEN):
            if self._inside:
                token, at = self._tokens.next(piece, at)
                if token is not None:
                    self._take(token, items)
            else:
                bracket = _BRACKET.search(piece, at)
                at = bracket.end() if bracket else len(piece)
                if bracket:
                    self._begin(bracket[0])
            if self._item_chars + self._tokens.held_chars > self._limit_chars:
                self._fail(f"an item of the list is over the limit of {self._limit_chars} characters")
        self.count += len(items)
        return items

    def end(self) -> None:
        """The text is over: a list that has not ended by now never will."""
        if self.state is ScanState.SEARCHING:
            self._fail("the reply holds no JSON list where one is expected")
        elif self.state is ScanState.OPEN:
            self._fail("the reply ends inside its JSON list")

    def _enter(self) -> None:
        """Stand at the beginning of a container on the way, or of the list itself."""
        self._key: object = None
        self._after_colon = False
        self._index = 0
        self._item: list[str] = []
        self._item_chars = 0
        self._depth = 0

    def _opener(self) -> str:
        """The bracket that the container at the current level has to begin with."""
        return "{" if self._level < len(self._steps) and isinstance(self._steps[self._level], str) else "["

    def _begin(self, bracket: str) -> None:
        """Take a bracket in prose for the beginning of the document."""
        self._inside = True
        self._level = 0
        self._skip = 0
        self._enter()
        if bracket != self._opener():
            self._level = -1
            self._skip = 1
        elif not self._steps:
            self.state = ScanState.OPEN

    def _take(self, token: str, items: list[str]) -> None:
        is_run = token[0] != '"' and token[0] not in PUNCTUATION
        bare = token.strip(_BLANK) if is_run else token
        if is_run and bare and _SCALAR.fullmatch(bare) is None:
            self._reject(items)
        elif self._skip:
            self._skip += _DEEPER.get(token, 0)
            if not self._skip and self._level < 0:
                self._fail("the reply's JSON does not lead to a list")
        elif self._level == len(self._steps):
            self._take_in_list(token, items)
        elif bare:
            self._take_on_the_way(bare, items)

    def _take_in_list(self, token: str, items: list[str]) -> None:
        if self._depth == 0 and token in (",", "]"):
            self._finish_item(token, items)
            return
        self._item.append(token)
        self._item_chars += len(token)
        self._depth += _DEEPER.get(token, 0)
        if self._depth < 0:
            self._reject(items)

    def _finish_item(self, delimiter: str, items: list[str]) -> None:
        text = "".join(self._item).strip(_BLANK)
        self._enter()
        if text or delimiter == "," or self.count or items:
            try:
                parse_json(text)
            except NoValue:
                self._reject(items)
                return
            items.append(text)
        if delimiter == "]":
            self.state = ScanState.ENDED

    def _take_on_the_way(self, token: str, items: list[str]) -> None:
        step = self._steps[self._level]
        if token in ("]", "}"):
            self._fail("the reply's JSON has nothing where the list is expected")
        elif token == ",":
            self._index += 1
            self._key, self._after_colon = None, False
        elif isinstance(step, int):
            self._take_value(token, fits=self._index == step)
        elif self._after_colon:
            self._after_colon = False
            self._take_value(token, fits=self._key == step)
        elif token == ":":
            self._after_colon = True
        else:
            self._take_key(token, items)

    def _take_key(self, token: str, items: list[str]) -> None:
        try:
            self._key = parse_json(token)
        except NoValue:
            self._reject(items)

    def _take_value(self, token: str, *, fits: bool) -> None:
        """A value on the way: go into it if it `fits`, else skip it."""
        if not fits:
            self._skip = max(0, _DEEPER.get(token, 0))
            return
        self._level += 1
        if token != self._opener():
            self._fail("the reply's JSON does not lead to a list")
            return
        self._enter()
        if self._level == len(self._steps):
            self.state = ScanState.OPEN

    def _reject(self, items: list[str]) -> None:
        """This is no JSON: search on, unless something of it was given out already."""
        if self.count or items:
            self._fail(f"the reply's JSON list is broken after {self.count + len(items)} items")
        else:
            self._inside = False
            self.state = ScanState.SEARCHING
            self._enter()

    def _fail(self, reason: str) -> None:
        self.state = ScanState.FAILED
        self.reason = reason
