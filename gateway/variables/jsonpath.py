"""JSONPath (RFC 9535) whose work is linear in the document, by the library of python-jsonpath. Pure.

Refused when a path is compiled: what multiplies the nodes visited (a second `..`, many selectors in brackets,
queries from the root inside a filter). `match()` and `search()` run on RE2.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Any, cast

from jsonpath import JSONPath, JSONPathEnvironment
from jsonpath.exceptions import JSONPathError
from jsonpath.filter import BaseExpression, FilterQuery, RootFilterQuery
from jsonpath.function_extensions import ExpressionType, FilterFunction
from jsonpath.segments import JSONPathRecursiveDescentSegment
from jsonpath.selectors import Filter, IndexSelector, NameSelector, WildcardSelector

from gateway.variables.patterns import BadPattern, Pattern, compile_pattern
from gateway.variables.values import NoValue

JSONContainer = dict[str, Any] | list[Any]
MAX_NESTING = 100
"""How deep `..` descends."""
_MAX_SELECTORS = 64


class BadPath(ValueError):
    """A text that is no JSONPath, or one that may visit too many nodes."""


@dataclass(frozen=True, slots=True)
class Path:
    """A compiled path: `steps` lead to one node, `query` selects from there (None: that node itself)."""

    text: str
    steps: tuple[str | int, ...]
    query: JSONPath | None
    is_list: bool
    """`query` is the items of one list, `[*]`, and no step counts from a list's end."""

    def select(self, document: object) -> object:
        """The node at a path to one node, else the list of all nodes. Raises: NoValue.

        An empty list is a value; that there is nothing to select from is not.
        """
        node = document
        for step in self.steps:
            node = _child(node, step, self.text)
        if self.query is None:
            return node
        if not isinstance(node, dict | list):
            raise NoValue(f"the JSON path {self.text} finds no list or object in the reply")
        try:
            return self.query.findall(cast(JSONContainer, document))
        except (JSONPathError, RecursionError):
            raise NoValue(f"the reply's JSON nests too deep for {self.text}") from None


WHOLE = Path("$", (), None, is_list=True)


def compile_path(text: str) -> Path:
    """Compile a path. Raises: BadPath."""
    if not text:
        raise BadPath("it is empty")
    try:
        path = _ENVIRONMENT.compile(text)
    except RecursionError:
        raise BadPath("it nests too deep") from None
    except JSONPathError as error:
        raise BadPath(str(error.args[0]) if error.args else "it is no JSONPath") from None
    if not isinstance(path, JSONPath):
        raise BadPath("it is more than one path")
    _refuse_costly(path)
    steps = tuple(_steps(path))
    rest = path.segments[len(steps) :]
    is_list = (
        len(rest) <= 1
        and all(isinstance(segment.selectors[0], WildcardSelector) for segment in rest)
        and not any(_descends(segment) or len(segment.selectors) > 1 for segment in rest)
        and not any(isinstance(step, int) and step < 0 for step in steps)
    )
    return Path(text, steps, path if rest else None, is_list)


def _child(node: object, step: str | int, path: str) -> object:
    if isinstance(step, str) and isinstance(node, dict) and step in node:
        return node[step]
    if isinstance(step, int) and isinstance(node, list) and -len(node) <= step < len(node):
        return node[step]
    raise NoValue(f"the JSON path {path} finds nothing in the reply")


def _steps(path: JSONPath) -> Iterator[str | int]:
    for segment in path.segments:
        selector = segment.selectors[0]
        if _descends(segment) or len(segment.selectors) > 1:
            return
        if isinstance(selector, NameSelector):
            yield selector.name
        elif isinstance(selector, IndexSelector):
            yield selector.index
        else:
            return


def _descends(segment: object) -> bool:
    return isinstance(segment, JSONPathRecursiveDescentSegment)


def _refuse_costly(path: JSONPath) -> None:
    paths = list(_paths(path))
    if sum(_descends(segment) for inner in paths for segment in inner.segments) > 1:
        raise BadPath("it holds more than one `..`")
    if prod(len(segment.selectors) for inner in paths for segment in inner.segments) > _MAX_SELECTORS:
        raise BadPath("it holds too many selectors")


def _paths(path: JSONPath) -> Iterator[JSONPath]:
    """The path and those inside of its filters."""
    yield path
    for segment in path.segments:
        for selector in segment.selectors:
            if isinstance(selector, Filter):
                yield from _queries(selector.expression)


def _queries(expression: BaseExpression) -> Iterator[JSONPath]:
    if isinstance(expression, FilterQuery):
        if isinstance(expression, RootFilterQuery) and not expression.path.singular_query():
            raise BadPath("a filter may look at one node from the root only")
        yield from _paths(expression.path)
        return
    for child in expression.children():
        yield from _queries(child)


class _OnRE2(FilterFunction):
    """`match` and `search` of RFC 9535; a pattern that is none matches nothing, as it says."""

    arg_types: Sequence[ExpressionType] = [ExpressionType.VALUE, ExpressionType.VALUE]  # type: ignore[assignment]
    return_type = ExpressionType.LOGICAL

    def __init__(self, *, whole: bool) -> None:
        self._whole = whole

    def __call__(self, value: object, pattern: object) -> bool:
        if not isinstance(value, str) or not isinstance(pattern, str):
            return False
        compiled = _compiled(pattern)
        return compiled is not None and compiled.holds(value, whole=self._whole)


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> Pattern | None:
    try:
        return compile_pattern(pattern)
    except BadPattern:
        return None


class _Environment(JSONPathEnvironment):
    max_recursion_depth = MAX_NESTING

    def setup_function_extensions(self) -> None:
        super().setup_function_extensions()
        self.function_extensions["match"] = _OnRE2(whole=True)
        self.function_extensions["search"] = _OnRE2(whole=False)


_ENVIRONMENT = _Environment(strict=True)
