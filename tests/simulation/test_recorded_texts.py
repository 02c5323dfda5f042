"""What prompts are made of: the program's text, the session's, their own; or all of an earlier call."""

from __future__ import annotations

from gateway.schedule.settings import SchedulerSettings
from gateway.simulation.outcome import Outcome
from gateway.simulation.recorded import Recorded
from gateway.simulation.recorded_texts import common_tokens, prompts
from gateway.simulation.settings import WorldSettings
from gateway.simulation.work import Message, Mode, Reply, Text
from gateway.simulation.world import World
from tests.simulation.documents import node, session
from tests.simulation.test_world import COSTS, LIMITS

COMMON = Text(7, 32)


def lengths(messages: tuple[Message, ...]) -> list[int]:
    return [piece.tokens for message in messages for piece in message if isinstance(piece, Text)]


def made(*nodes, common: Text = COMMON, number: int = 0):
    return prompts(nodes, {each["call_id"]: () for each in nodes}, common, number)


def test_a_prompt_begins_with_its_programs_text_and_its_sessions() -> None:
    found = made(node("a", cached=64), node("b", cached=32), node("c", prompt=20))
    assert [lengths(found[name]) for name in "abc"] == [[32, 32, 36], [32, 68], [19, 1]]
    assert {found[name][0][0].content for name in "abc"} == {7}  # type: ignore[union-attr]
    assert len({found[name][-1] for name in "abc"}) == 3


def test_a_call_holds_what_the_next_one_on_its_worker_found() -> None:
    calls = (
        node("a"),
        node("short", prompt=50),
        node("elsewhere", worker="w1"),
        node("b", cached=80),
        node("c", cached=40),
    )
    found = made(*calls)
    assert [lengths(found[each["call_id"]]) for each in calls] == [
        [32, 68],
        [32, 17, 1],
        [32, 68],
        [32, 48, 20],
        [32, 8, 60],
    ]
    assert len({found[name][1][0].content for name in ("short", "b", "c")}) == 1  # type: ignore[union-attr]


def test_sessions_share_no_more_than_their_programs_text() -> None:
    one, other = (made(node("a", cached=64), number=number)["a"] for number in (0, 1))
    assert one[0] == other[0]
    assert one[1] != other[1]


def test_a_call_that_goes_on_from_another_is_no_holder_and_no_finder() -> None:
    """What an extending call found says nothing of the session's text."""
    first, second, third = node("a"), node("b", prompt=200, cached=96), node("c", cached=64)
    found = prompts((first, second, third), {"a": (), "b": (first,), "c": ()}, COMMON, 0)
    assert lengths(found["a"]) == [32, 32, 36]
    assert found["b"] == (*found["a"], (Reply("a"),), found["b"][-1])
    assert lengths(found["b"])[-1] == 200 - 100 - 10


def test_a_programs_text_is_what_first_calls_usually_found() -> None:
    assert common_tokens([node("a"), node("b", cached=48), node("c", cached=48)]) == 48


def test_sharing_within_sessions_is_not_sharing_between_them() -> None:
    """Every session's calls begin with a long text of its own: who scatters them finds it less often."""
    documents = [
        session(
            f"s{number}",
            *(
                node(f"{number}.{turn}", number * 0.4 + 3.0 * turn, prompt=400, cached=320 * bool(turn))
                for turn in range(6)
            ),
        )
        for number in range(7)
    ]
    found = Recorded(documents)
    told = found.figures().cached_share

    def cached(place: str) -> float:
        scheduler = SchedulerSettings(place=place, sticky_margin=1.0, delay_weight=0.0)
        settings = WorldSettings(workers=3, limits=LIMITS, costs=COSTS, scheduler=scheduler, mode=Mode.SESSION)
        outcome: Outcome = World(settings, found.programs()).run()
        return outcome.figures().cached_share

    assert cached("program_aware") > told - 0.05
    assert cached("round_robin") < told - 0.2
