"""Moves of the random test that seldom meet by chance, made one after the other: the same world, the same model."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.programs.call import Spec
from tests.programs.machine import Programs


def spec(outputs: dict[str, str], *inputs: str, tenant: str = "acme", **more: object) -> Spec:
    """A call in the session `run`."""
    return Spec(tenant, "run", inputs, (), outputs, "s", **more)  # type: ignore[arg-type]


@pytest.fixture
def machine() -> Iterator[Programs]:
    """At its end all workers answer, all time runs out, and nothing may be left."""
    machine = Programs()
    yield machine
    machine.teardown()


@pytest.mark.parametrize("who", ["the first", "the later one", "both"])
@pytest.mark.parametrize("stream", [False, True])
def test_clients_of_one_call_leave(machine: Programs, who: str, stream: bool) -> None:
    machine.begin([spec({"a": "text"}, keyed=True, stream=stream)])
    machine.send_again(0, 0)
    if stream:
        machine.start_streaming(0)
    if who != "the first":
        machine.leave(1)
    if who != "the later one":
        machine.leave(0) if who == "both" else machine.leave(3)
    machine.pass_time(7.0 if who == "both" else 31.0)
    machine.send_again(0, 0)
    machine.answer_well([0], 0)
    machine.send_again(0, 0)
    assert len(machine.world.attempts) == 1


def test_a_cancelled_session_ends_all_its_calls_and_no_others(machine: Programs) -> None:
    machine.begin([spec({"b": "text"}, "nobody"), spec({"a": "text"}), spec({"c": "text"}, "a")])
    machine.begin([spec({"b": "text"}, "nobody", tenant="evil"), spec({"a": "text"}, tenant="evil")])
    machine.cancel(3, True, 0)
    ended = {call.spec.tenant for call in machine.model.calls if machine.sent[call.number].ended}
    assert len(ended) == 1


def test_a_variable_that_has_a_producer_is_not_set_from_outside(machine: Programs) -> None:
    machine.begin([spec({"a": "text"}), spec({}, "a")])
    machine.put("acme", 1, "put 7", 0)
    machine.answer_well([0, 0], 0)
    machine.put("acme", 0, "put 7", 0)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("items", [1, 2, 3])
def test_a_list_breaks_off_after_some_items(machine: Programs, stream: bool, items: int) -> None:
    """Unstreamed it is gone on with, by another worker; streamed it fails. Readers of the items have them."""
    machine.begin(
        [spec({"a": "list"}, stream=stream), spec({}, "a.0"), spec({}, "a"), spec({"b": "text"}, "a", over="a")]
    )
    machine.answer_well([30], items)
    machine.die(1, False, True)
    machine.answer_all()
    assert any(attempt.continues for attempt in machine.world.attempts) is not stream


@pytest.mark.parametrize("well", [True, False])
def test_a_worker_is_ejected_again_and_again_while_it_has_other_calls(machine: Programs, well: bool) -> None:
    """They stay where they are, or move as often as they may."""
    for _ in range(2):
        machine.begin([spec({}), spec({}), spec({}, stream=True)])
    for pick in (0, 6, 12, 0, 6):
        machine.die(pick, True, well)
        machine.pass_time(7.0)
    assert any(machine.evictions.values()) is not well


@pytest.mark.parametrize("status", [400, 500])
def test_an_item_of_a_map_is_refused(machine: Programs, status: int) -> None:
    machine.put("acme", 0, '["pa", "pb"]', 0)
    name = next(iter(machine.model.session("acme", "run").variables))
    machine.begin([spec({"e": "text"}, name, over=name), spec({}, "e"), spec({}, "e.0")])
    machine.answer_well([3], 0)
    machine.answer_with_an_error(1, status)
    assert machine.sent[1].ended


def test_a_list_grows_past_what_its_map_has_begun(machine: Programs) -> None:
    machine.begin([spec({"b": "text"}, "a", over="a"), spec({"a": "list"}), spec({}, "b.2", "b")])
    machine.answer_well([0], 1)
    machine.answer_well([0], 0)
    machine.answer_well([0, 0], 0)
    machine.answer_well([0, 0, 0], 0)
    assert machine.sent[2].status == 200
