"""`x-workflow-outputs` compiled: what each output is cut from, checked before the call is accepted. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum

from msgspec.structs import replace

from gateway.structs import Frozen
from gateway.variables.jsonpath import WHOLE, BadPath, Path, compile_path
from gateway.variables.patterns import BadPattern, Pattern, compile_pattern
from hints import syntax
from hints.model import HintError, Output

_HEADER = "x-workflow-outputs"


class Transform(StrEnum):
    """How a value is cut from a reply."""

    TEXT = "text"
    JSON = "json"
    REGEX = "regex"
    STRIP = "strip"
    CODE = "code"
    LINES = "lines"
    MESSAGE = "message"


_FLAGS = ("each", "map", "complete")
_KEYS = (*[transform.value for transform in Transform if transform is not Transform.TEXT], *_FLAGS)
_QUICK_BYTES = {Transform.JSON: 16_384, Transform.REGEX: 16_384, Transform.CODE: 1 << 20, Transform.LINES: 262_144}
_QUICK_STEPS = 1_000_000


class Producer(Frozen):
    """One output: its name, its transform, and how it is committed."""

    name: str
    transform: Transform = Transform.TEXT
    path: Path = WHOLE
    pattern: Pattern | None = None
    each: bool = False
    """Every item of the list is committed as soon as it is complete, as `name.0`, `name.1`, ..."""
    map: bool = False
    """The step runs once per item of a list; the output is the list of what those calls produce."""
    map_over: str | None = None
    """The input mapped over, where `map` names one."""
    complete: bool = False
    """A truncated reply is a failure, not a value."""

    def is_quick(self, reply_bytes: int) -> bool:
        """Whether a reply this long takes some ten milliseconds at most, so that no thread is needed."""
        if self.pattern is not None and reply_bytes * self.pattern.instructions > _QUICK_STEPS:
            return False
        return reply_bytes <= _QUICK_BYTES.get(self.transform, reply_bytes)


def compile_outputs(outputs: Sequence[Output]) -> tuple[Producer, ...]:
    """Compile every output. Raises: HintError (field `outputs`), with the corrected line if there is one."""
    _refuse_shared_names(outputs)
    return tuple(_Compiler(outputs, index).producer() for index in range(len(outputs)))


def outputs_line(outputs: Sequence[Output]) -> str:
    """The header line that says `outputs`."""
    return f"{_HEADER}: " + ", ".join(_item(output) for output in outputs)


def _item(output: Output) -> str:
    return ";".join([output.name, *[_param(key, value) for key, value in output.params]])


def _param(key: str, value: str | bool) -> str:
    if value is True:
        return key
    if value is False:
        return f"{key}=?0"
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'{key}="{escaped}"'


def _refuse_shared_names(outputs: Sequence[Output]) -> None:
    """No two outputs of one name, nor one named as an item of another is."""
    if len(outputs) < 2:
        return
    named = {output.name: output for output in outputs}
    if len(named) < len(outputs):
        twice = next(output.name for output in outputs if output is not named[output.name])
        raise HintError("outputs", f"The output {twice} is named twice.", outputs_line(list(named.values())))
    for name in named:
        base, _, index = name.rpartition(".")
        if base in named and index.isdecimal():
            raise HintError("outputs", f"The output {name} has the name of an item of the output {base}.")


@dataclass(frozen=True, slots=True)
class _Compiler:
    """Compiles one output of a line."""

    outputs: Sequence[Output]
    index: int

    def producer(self) -> Producer:
        output = self.outputs[self.index]
        if not output.params:
            return Producer(output.name)
        said: dict[str, str | bool] = {key: value for key, value in output.params if value is not False}
        for key in said:
            if key not in _KEYS:
                raise self._unknown(key)
        producer = self._transformed(said)
        for flag in ("each", "complete"):
            if flag in said:
                self._refuse_text(flag, said[flag])
        over = said.get("map")
        if isinstance(over, str) and not syntax.NAME_PATTERN.fullmatch(over):
            raise self._fault("map", f"maps over {over[:80]!r}, which is no variable's name", True)
        producer = replace(
            producer,
            each="each" in said,
            map="map" in said,
            map_over=over if isinstance(over, str) else None,
            complete="complete" in said,
        )
        return self._each(producer) if producer.each else producer

    def _transformed(self, said: dict[str, str | bool]) -> Producer:
        output = self.outputs[self.index]
        chosen = [Transform(key) for key in said if key not in _FLAGS]
        if len(chosen) > 1:
            kept = tuple((key, value) for key, value in output.params if key in _FLAGS or key == chosen[0])
            raise self._error(f"has two transforms, {chosen[0]} and {chosen[1]}", kept)
        if not chosen:
            return Producer(output.name)
        return self._build(chosen[0], said[chosen[0]])

    def _build(self, transform: Transform, value: str | bool) -> Producer:
        name = self.outputs[self.index].name
        if transform is Transform.JSON and isinstance(value, str):
            return Producer(name, transform, path=self._path(value))
        if transform is Transform.REGEX:
            if not isinstance(value, str):
                raise self._fault("regex", "names no regex", "(.+)")
            return Producer(name, transform, pattern=self._pattern(value))
        self._refuse_text(transform, value)
        return Producer(name, transform)

    def _path(self, text: str) -> Path:
        try:
            return compile_path(text)
        except BadPath as error:
            guesses = filter(_is_path, _path_guesses(text))
            raise self._fault("json", f"has a bad JSON path: {error}", next(guesses, None)) from None

    def _pattern(self, text: str) -> Pattern:
        try:
            return compile_pattern(text)
        except BadPattern as error:
            raise self._fault("regex", f"has a bad regex (RE2 syntax): {error}", None) from None

    def _each(self, producer: Producer) -> Producer:
        if producer.transform is Transform.TEXT:
            producer = replace(producer, transform=Transform.JSON)
        if producer.map:
            raise self._fault("map", "is declared both `each` and `map`", False)
        if producer.transform is not Transform.JSON:
            flags = tuple((key, True) for key in _FLAGS if getattr(producer, key))
            raise self._error("is declared `each`, which reads the items of a JSON list", (("json", True), *flags))
        if not producer.path.is_list:
            raise self._fault("json", "is declared `each`: its path must lead straight to one list", "$.items[*]")
        return producer

    def _refuse_text(self, key: str, value: str | bool) -> None:
        if isinstance(value, str):
            raise self._fault(key, f"gives `{key}` a value, but it takes none", True)

    def _unknown(self, key: str) -> HintError:
        near = next(iter(get_close_matches(key, _KEYS, n=1, cutoff=0.5)), None)
        params = self.outputs[self.index].params
        renamed = tuple((near, value) if name == key and near else (name, value) for name, value in params)
        message = f"has an unknown transform {key[:80]!r}; known are {', '.join(_KEYS)}"
        return self._error(message, renamed if near and _is_understood(renamed) else None)

    def _fault(self, key: str, message: str, value: str | bool | None) -> HintError:
        """An error of one parameter, put right with `value` (None: nobody can tell what was meant)."""
        params = self.outputs[self.index].params
        fixed = tuple((name, value if name == key and value is not None else old) for name, old in params)
        fixed = tuple((name, old) for name, old in fixed if old is not False)
        return self._error(message, None if value is None else fixed)

    def _error(self, message: str, fixed: tuple[tuple[str, str | bool], ...] | None) -> HintError:
        output = self.outputs[self.index]
        said = f"The output {output.name} {message}."
        if fixed is None:
            return HintError("outputs", said)
        line = [*self.outputs[: self.index], Output(output.name, fixed), *self.outputs[self.index + 1 :]]
        return HintError("outputs", said, outputs_line(line))


def _path_guesses(text: str) -> tuple[str, ...]:
    bare = text.strip()
    return (bare,) if bare.startswith("$") else (f"${bare}", f"$.{bare}")


def _is_path(text: str) -> bool:
    try:
        compile_path(text)
    except BadPath:
        return False
    return True


def _is_understood(params: tuple[tuple[str, str | bool], ...]) -> bool:
    try:
        _Compiler([Output("o", params)], 0).producer()
    except HintError:
        return False
    return True
