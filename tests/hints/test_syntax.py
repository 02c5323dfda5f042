from __future__ import annotations

from typing import Any

import http_sf
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hints import syntax
from hints.syntax import Item, Malformed

TOKEN_START = st.sampled_from("abzABZ*")
TOKEN_REST = st.text(alphabet="abcXYZ0189:/!#$%&'*+-.^_`|~", max_size=12)
TOKENS = st.builds(lambda first, rest: http_sf.Token(first + rest), TOKEN_START, TOKEN_REST)
STRINGS = st.text(alphabet=[chr(code) for code in range(0x20, 0x7F)], max_size=20)
NAMES = st.from_regex(r"[A-Za-z][A-Za-z0-9_.:/-]{0,12}", fullmatch=True)
KEYS = st.from_regex(r"[a-z*][a-z0-9_.*-]{0,6}", fullmatch=True)
PARAMS = st.dictionaries(
    KEYS, st.one_of(TOKENS, STRINGS, st.booleans(), st.integers(-999_999, 999_999)), max_size=3
)
LIKELY = st.text(alphabet='ab1 ,;="\\[](){}?.:\t\x00é', max_size=24)


def rfc_item(line: str) -> tuple[Any, dict[str, Any]] | None:
    try:
        return http_sf.parse(line.encode("ascii"), tltype="item")  # type: ignore[return-value]
    except (http_sf.StructuredFieldError, UnicodeEncodeError):
        return None


def rfc_list(line: str) -> list[tuple[Any, dict[str, Any]]] | None:
    try:
        return http_sf.parse(line.encode("ascii"), tltype="list")  # type: ignore[return-value]
    except (http_sf.StructuredFieldError, UnicodeEncodeError):
        return None


def understood_or_none(read: Any, line: str) -> Any:
    try:
        return read(line)
    except Malformed:
        return None


@given(st.one_of(TOKENS, STRINGS))
def test_text_reads_what_rfc_9651_writes(value: str) -> None:
    line = http_sf.ser(value)
    if not value:
        with pytest.raises(Malformed, match="empty"):
            syntax.text(line)
    else:
        assert syntax.text(line) == value


@given(LIKELY)
@example('"a\\"b"')
@example(' "a" ')
@example('"a";b')
def test_text_agrees_with_rfc_9651_on_tokens_and_strings(line: str) -> None:
    parsed = rfc_item(line)
    ours = understood_or_none(syntax.text, line)
    if parsed is not None and isinstance(parsed[0], str) and not parsed[1] and ours is not None:
        assert ours == parsed[0]


@given(st.booleans(), PARAMS)
def test_boolean_reads_what_rfc_9651_writes(value: bool, params: dict[str, Any]) -> None:
    assert syntax.boolean(http_sf.ser((value, params))) is value


@given(st.integers(-(10**15) + 1, 10**15 - 1), PARAMS)
def test_integer_reads_what_rfc_9651_writes(value: int, params: dict[str, Any]) -> None:
    assert syntax.integer(http_sf.ser((value, params))) == value


@given(LIKELY)
def test_scalars_agree_with_rfc_9651(line: str) -> None:
    parsed = rfc_item(line)
    if parsed is None:
        return
    boolean, integer = (understood_or_none(read, line) for read in (syntax.boolean, syntax.integer))
    if isinstance(parsed[0], bool):
        assert boolean is parsed[0]
        assert integer is None
    elif isinstance(parsed[0], int):
        assert integer == parsed[0]


def as_ours(value: Any) -> str | bool:
    return value if isinstance(value, str | bool) else str(value)


@given(st.lists(st.tuples(st.one_of(NAMES.map(http_sf.Token), NAMES), PARAMS), min_size=1, max_size=5))
def test_lists_read_what_rfc_9651_writes(members: list[tuple[str, dict[str, Any]]]) -> None:
    expected = tuple(
        Item(str(name), tuple((key, as_ours(value)) for key, value in params.items())) for name, params in members
    )
    assert syntax.items(http_sf.ser(members)) == expected


@given(LIKELY)
@example('a;b="x, y", c')
@example("a;b;b=?0;c=tok")
@example('"a" , b')
def test_lists_agree_with_rfc_9651(line: str) -> None:
    parsed = rfc_list(line)
    ours = understood_or_none(syntax.items, line)
    if parsed is None or ours is None or not all(isinstance(name, str) for name, _ in parsed):
        return
    texts = (str, bool)
    if all(isinstance(value, texts) for _, params in parsed for value in params.values()):
        assert [(item.name, dict(item.params)) for item in ours] == [(str(n), p) for n, p in parsed]


@given(st.text(max_size=300))
@example("\ud800")
@example('"' * 9)
@example("[" * 2000)
def test_only_malformed_is_raised(line: str) -> None:
    for read in (syntax.text, syntax.boolean, syntax.integer, syntax.items, syntax.name):
        understood_or_none(read, line)


@given(st.text(max_size=300))
def test_a_text_is_bounded_and_printable(line: str) -> None:
    value = understood_or_none(syntax.text, line)
    if value is not None:
        assert 1 <= len(value.encode()) <= 255
        assert not any(ord(char) < 32 or 127 <= ord(char) < 160 for char in value)


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("run-42", "run-42"),
        ("  run 42\t", "run 42"),
        ('"run 42"', "run 42"),
        ('"C:\\dir"', "C:\\dir"),
        ("a;b", "a;b"),
        ('say "hi"', 'say "hi"'),
        ("x" * 255, "x" * 255),
        ("é" * 127, "é" * 127),
    ],
)
def test_texts(line: str, value: str) -> None:
    assert syntax.text(line) == value


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("", "empty"),
        (" \t ", "empty"),
        ('""', "empty"),
        ("x" * 256, "too-long"),
        ("é" * 128, "too-long"),
        ("a\x00b", "control-character"),
        ("a\tb", "control-character"),
        ("a\x85b", "control-character"),
    ],
)
def test_refused_texts(line: str, code: str) -> None:
    with pytest.raises(Malformed) as refused:
        syntax.text(line)
    assert refused.value.code == code


@pytest.mark.parametrize("word", ["?1", "1", "true", "yes", "YES", " True "])
def test_true(word: str) -> None:
    assert syntax.boolean(word) is True


@pytest.mark.parametrize("word", ["?0", "0", "false", "no", "No"])
def test_false(word: str) -> None:
    assert syntax.boolean(word) is False


@pytest.mark.parametrize("word", ["", "2", "on", "?2", "truee"])
def test_not_a_boolean(word: str) -> None:
    with pytest.raises(Malformed, match="none of"):
        syntax.boolean(word)


@pytest.mark.parametrize("word", ["", "1.5", "1e3", "0x10", "1_000", "٣", "9" * 16, "abc"])
def test_not_an_integer(word: str) -> None:
    with pytest.raises(Malformed, match="not an integer"):
        syntax.integer(word)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("plan", [Item("plan")]),
        (
            'plan, files;json="$.files[*]"',
            [Item("plan"), Item("files", (("json", "$.files[*]"),))],
        ),
        ("files;json=$.files[0,1], b", [Item("files", (("json", "$.files[0,1]"),)), Item("b")]),
        ("files ; json = $[?(@.a;b)]", [Item("files", (("json", "$[?(@.a;b)]"),))]),
        ("a,,b,", [Item("a"), Item("b")]),
        ('"plan" , files.0', [Item("plan"), Item("files.0")]),
        ("a;raw;strip=?0", [Item("a", (("raw", True), ("strip", False)))]),
        ('a;p="x \\"y\\", z"', [Item("a", (("p", 'x "y", z'),))]),
        ("", []),
    ],
)
def test_lists(line: str, expected: list[Item]) -> None:
    assert list(syntax.items(line)) == expected


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("my plan", "not-a-name"),
        ("plan; ", "not-a-parameter"),
        ("plan;json=", "not-a-parameter"),
        ('plan;json="$.a', "unbalanced"),
        ("plan;json=$.a[0", "unbalanced"),
        ("plan;json=$.a]", "unbalanced"),
        ("(a b)", "not-a-name"),
        ("?1", "not-a-name"),
        ("plän", "not-a-name"),
        ("a" * 256, "too-long"),
        (",".join("a" * 1025), "too-many"),
    ],
)
def test_refused_lists(line: str, code: str) -> None:
    with pytest.raises(Malformed) as refused:
        syntax.items(line)
    assert refused.value.code == code
