"""Outputs compiled: flags, and faults named with the corrected line."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.variables.producers import Transform, compile_outputs, outputs_line
from hints.model import HintError, Output
from hints.own import BY_FIELD


def read(line: str) -> tuple[Output, ...]:
    outputs = BY_FIELD["outputs"].read(line)
    assert isinstance(outputs, tuple)
    return outputs


def test_flags_are_fields() -> None:
    each, mapped, over, plain = compile_outputs(
        read('a;json="$.x[*]";each;complete, b;strip;map, c;map=files, d;each=?0;strip=no-no'.replace("=no-no", ""))
    )
    assert (each.transform, each.each, each.complete, each.path.steps) == (Transform.JSON, True, True, ("x",))
    assert (mapped.transform, mapped.map, mapped.map_over) == (Transform.STRIP, True, None)
    assert (over.transform, over.map, over.map_over) == (Transform.TEXT, True, "files")
    assert (plain.transform, plain.each) == (Transform.STRIP, False)


@pytest.mark.parametrize(
    ("line", "fault", "corrected"),
    [
        ("p, x;jsn", "unknown transform 'jsn'", "p, x;json"),
        ('x;regexp="a+"', "unknown transform 'regexp'", 'x;regex="a+"'),
        ("x;trim", "unknown transform 'trim'", "x;strip"),
        ("x;wombat=1", "unknown transform 'wombat'", None),
        ('x;json="files[*]"', "bad JSON path", 'x;json="$.files[*]"'),
        ('x;json=".files"', "bad JSON path", 'x;json="$.files"'),
        ('x;json="$.a["', "bad JSON path", None),
        ('x;json="$..a..b"', "more than one `..`", None),
        ('x;json=""', "it is empty", 'x;json="$"'),
        ('x;regex="(a"', "bad regex", None),
        ('x;regex="(?=a)b"', "bad regex", None),
        ('x;regex="((a{900}){900}){900}"', "bad regex", None),
        ('x;regex="\\\\pL{500}"', "too big", None),
        ("x;regex", "names no regex", 'x;regex="(.+)"'),
        ("x;strip;lines", "two transforms, strip and lines", "x;strip"),
        ('x;json="$.a";complete;code', "two transforms, json and code", 'x;json="$.a";complete'),
        ('x;strip="all"', "`strip` a value", "x;strip"),
        ('x;complete="all"', "`complete` a value", "x;complete"),
        ("x;lines;each", "reads the items of a JSON list", "x;json;each"),
        ('x;json="$..a";each', "straight to one list", 'x;json="$.items[*]";each'),
        ("x;json;each;map", "both `each` and `map`", "x;json;each"),
        ("x, x.0", "name of an item of the output x", None),
    ],
)
def test_faults_are_named_and_put_right(line: str, fault: str, corrected: str | None) -> None:
    with pytest.raises(HintError) as refused:
        compile_outputs(read(line))
    assert refused.value.field == "outputs"
    assert fault in refused.value.message
    assert refused.value.corrected == (None if corrected is None else f"x-workflow-outputs: {corrected}")
    if corrected is not None:
        compile_outputs(read(corrected))


def test_doubles_are_refused() -> None:
    with pytest.raises(HintError, match="named twice"):
        compile_outputs([Output("a"), Output("a", (("strip", True),))])


@given(st.lists(st.tuples(st.sampled_from("abc"), st.text(' "\\;,=$[]{}()ab?*.', max_size=12)), max_size=3))
def test_a_line_says_what_it_was_made_of(params: list[tuple[str, str]]) -> None:
    output = Output("x", tuple(dict(params).items()))
    assert read(outputs_line([output]).partition(": ")[2]) == (output,)


@given(st.text("$.[]*?@'\"ab0:,()&|!=<> -", max_size=40), st.text("ab(){}[]*+?|\\.^$0,9-dwpL", max_size=30))
def test_hostile_paths_and_patterns_are_compiled_or_refused(path: str, pattern: str) -> None:
    for params in ((("json", path),), (("regex", pattern),), (("json", path), ("each", True))):
        with suppress(HintError):
            assert len(compile_outputs([Output("x", params)])) == 1


@pytest.mark.parametrize("path", ["$" + "[?@" * 1300, "$[?" + "(" * 4000, "$" + ".a" * 2000, "$" + "[0,0]" * 800])
def test_nested_paths_are_bounded(path: str) -> None:
    with suppress(HintError):
        assert compile_outputs([Output("x", (("json", path),))])[0].path.text == path
