import pytest

from loadtest.program.graph import Ask, Lookup, Program, filled


def test_a_steps_inputs_are_its_placeholders_each_once() -> None:
    assert Ask("total", "{{part.1}} and {{part.0}}, again {{part.1}}; not {{}} or { {x} }", 8).inputs == (
        "part.1",
        "part.0",
    )


def test_values_are_filled_in_in_one_pass() -> None:
    assert filled("{{a}} {{b}}", {"a": "{{b}}", "b": "2"}) == "{{b}} 2"


@pytest.mark.parametrize(
    "steps",
    [
        (Ask("b", "{{a}}", 8), Ask("a", "", 8)),
        (Ask("a", "{{a}}", 8),),
        (Ask("a", "", 8), Ask("a", "{{a}}", 8)),
        (Ask("a", "", 8), Ask("b", "", 8)),
    ],
    ids=["later", "itself", "twice", "unread"],
)
def test_steps_that_make_no_program_are_refused(steps: tuple[Ask, ...]) -> None:
    with pytest.raises(ValueError, match="bad"):
        Program("bad", "", steps)


def test_a_lookup_is_no_call() -> None:
    steps = (Ask("a", "", 8), Lookup("b", ("a",), lambda values: values["a"]), Ask("c", "{{b}}", 8))
    program = Program("p", "", steps)
    assert (program.last, [ask.name for ask in program.asks]) == ("c", ["a", "c"])
