"""A body whose texts hold `{{name}}` placeholders: found once, filled at dispatch, in one pass. Pure.

Only listed names are placeholders; the braces of any other stay as they are, and a value's own braces are
never looked at. The work is linear in the body, whatever it holds.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from gateway.errors import TooLarge
from gateway.structs import Frozen
from gateway.variables.head import cut_at
from gateway.variables.text_parts import Part, Path, text_parts
from gateway.wire.routes import Route

_NAME = r"([A-Za-z0-9_.:/-]{1,255}+)"
_PLACEHOLDER = re.compile(r"\{\{\s*+" + _NAME + r"\s*+\}\}")
_SINGLE_BRACES = re.compile(r"\{\s*+" + _NAME + r"\s*+\}")
RENDERED_LIMIT_CHARS = 64 << 20
"""A few placeholders and a large value make a body far larger than what was sent."""


class Slot(Frozen):
    """One text with placeholders: `pieces[0] names[0] pieces[1] ... names[-1] pieces[-1]`."""

    path: Path
    pieces: tuple[str, ...]
    names: tuple[str, ...]

    def filled(self, values: Mapping[str, str]) -> str:
        """The text with every placeholder replaced. Raises: KeyError for a name without a value."""
        texts = [self.pieces[0]]
        for name, piece in zip(self.names, self.pieces[1:], strict=True):
            texts += (values[name], piece)
        return "".join(texts)


class Template(Frozen):
    """One body and where the values of its inputs go. `used` and `unused` keep the order of the listed names."""

    route: Route
    fields: Mapping[str, Any]
    slots: tuple[Slot, ...]
    """Texts with placeholders, in the order the model reads them."""
    used: tuple[str, ...]
    unused: tuple[str, ...]
    single_braced: tuple[str, ...]
    """Unused names that stand somewhere in single braces."""
    _uses: Mapping[str, int]
    _literal_chars: int

    def render(self, values: Mapping[str, str], limit_chars: int = RENDERED_LIMIT_CHARS) -> dict[str, Any]:
        """New fields with every placeholder replaced; objects without one are shared with the original.

        Raises: KeyError for a used name without a value; TooLarge when the filled texts exceed `limit_chars`.
        """
        if self.rendered_chars(values) > limit_chars:
            raise TooLarge(
                f"The prompt would hold more than {limit_chars} characters once its inputs are filled in.",
                code="rendered_too_large",
            )
        return replace_texts(self.fields, ((slot.path, slot.filled(values)) for slot in self.slots))

    def rendered_chars(self, values: Mapping[str, str]) -> int:
        """How long the texts with placeholders become; a name without a value counts nothing."""
        return self._literal_chars + sum(len(values.get(name, "")) * count for name, count in self._uses.items())

    def head(
        self,
        values: Mapping[str, str],
        partial: Mapping[str, str] = MappingProxyType({}),
        limit_chars: int = RENDERED_LIMIT_CHARS,
    ) -> dict[str, Any] | None:
        """The body up to the first placeholder of a name that `values` lacks: what could be computed ahead.

        Placeholders before it are filled, and the text before it stays, followed by what `partial` holds of the
        missing value (while its producer streams). None where nothing is missing, nothing is left, or the
        shape has no beginning to compute (embeddings, rerank, several prompts, an unfinished system text).
        """
        if self.rendered_chars({**values, **partial}) > limit_chars:
            return None
        whole: list[Part] = []
        for slot in self.slots:
            missing = next((at for at, name in enumerate(slot.names) if name not in values), None)
            if missing is None:
                whole.append((slot.path, slot.filled(values)))
                continue
            before = Slot(slot.path, slot.pieces[: missing + 1], slot.names[:missing]).filled(values)
            text = before + partial.get(slot.names[missing], "")
            return cut_at(self.route, replace_texts(self.fields, whole), slot.path, text)
        return None

    def note_unused(self) -> tuple[str, ...]:
        """Notes for the caller: inputs no placeholder uses, and those written as an f-string leaves them."""
        notes = [f"unused-input;{name}" for name in self.unused]
        notes += [f"single-braces;{name};an-f-string-needs={{{{{{{{{name}}}}}}}}}" for name in self.single_braced]
        return tuple(notes)


def compile_template(route: Route, fields: Mapping[str, Any], names: Sequence[str]) -> Template:
    """Find the placeholders of `names` in a body's texts. Never raises; `fields` is kept, not copied."""
    if not names:
        return Template(route, fields, (), (), (), (), {}, 0)
    listed = frozenset(names)
    parts = list(text_parts(route, fields))
    slots = tuple(_slots(parts, listed))
    uses = Counter(name for slot in slots for name in slot.names)
    unused = tuple(name for name in dict.fromkeys(names) if name not in uses)
    single = _single_braced(parts, frozenset(unused)) if unused else frozenset()
    return Template(
        route=route,
        fields=fields,
        slots=slots,
        used=tuple(name for name in dict.fromkeys(names) if name in uses),
        unused=unused,
        single_braced=tuple(name for name in unused if name in single),
        _uses=uses,
        _literal_chars=sum(len(piece) for slot in slots for piece in slot.pieces),
    )


def replace_texts(fields: Mapping[str, Any], texts: Iterable[Part]) -> dict[str, Any]:
    """`fields` with some values replaced: containers on the way to them are copied once, all others shared."""
    root = dict(fields)
    copies: dict[Path, Any] = {(): root}
    for path, text in texts:
        holder: Any = root
        for depth, key in enumerate(path[:-1], start=1):
            copied = copies.get(path[:depth])
            if copied is None:
                copied = copies[path[:depth]] = holder[key].copy()
                holder[key] = copied
            holder = copied
        holder[path[-1]] = text
    return root


def _slots(parts: Iterable[Part], listed: frozenset[str]) -> Iterator[Slot]:
    for path, text in parts:
        if "{{" not in text:
            continue
        pieces: list[str] = []
        names: list[str] = []
        start = 0
        for match in _PLACEHOLDER.finditer(text):
            if match[1] in listed:
                pieces.append(text[start : match.start()])
                names.append(match[1])
                start = match.end()
        if names:
            yield Slot(path, (*pieces, text[start:]), tuple(names))


def _single_braced(parts: Iterable[Part], unused: frozenset[str]) -> frozenset[str]:
    found = {match[1] for _, text in parts if "{" in text for match in _SINGLE_BRACES.finditer(text)}
    return unused & found
