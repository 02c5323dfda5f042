"""What a graph is good for, a rule at a time: the labels at its end say what every call is run for."""

from __future__ import annotations

from typing import Any

from engines.simulated import Behaviour
from tests.fundamentals.conftest import Program, said
from tests.gateway.conftest import run_rig


async def nodes(program: Program) -> dict[str, dict[str, Any]]:
    """The session's calls by their steps."""
    reply = await program.rig.client.get(f"/v1/workflow/sessions/{program.session}")
    return {node["step"]: node for node in reply.json()["nodes"]}


async def test_a_label_at_the_end_says_what_each_call_is_run_for(program: Program) -> None:
    final = program.begin("So: {{sum}}", inputs="sum", step="final", objective="latency")
    await program.until_parked(1)
    reduce = program.begin("{{a}} {{b}}", inputs="a, b", outputs="sum", step="reduce")
    await program.until_parked(2)
    await program.call("one", outputs="a", step="map.a")
    await program.call("two", outputs="b", step="map.b")
    assert said(await final) == "So: one two"
    await reduce

    shown = await nodes(program)
    assert {step: (node["objective"], node["depth"]) for step, node in shown.items()} == {
        "final": ("latency", 0),
        "reduce": ("latency", 1),
        "map.a": ("latency", 2),
        "map.b": ("latency", 2),
    }


async def test_parallel_calls_that_one_consumer_waits_for_are_a_group(program: Program) -> None:
    reduce = program.begin("{{a}} {{b}}", inputs="a, b", step="reduce")
    await program.until_parked()
    await program.call("one", outputs="a", step="map.a")
    await program.call("two", outputs="b", step="map.b")
    await reduce

    shown = await nodes(program)
    assert shown["map.a"]["group"] == shown["map.b"]["group"] == shown["reduce"]["call_id"]
    assert shown["reduce"]["group"] is None


async def test_what_only_throughput_outputs_need_is_throughput_work(program: Program) -> None:
    nightly = program.begin("{{notes}}", inputs="notes", step="nightly", objective="throughput")
    await program.until_parked()
    await program.call("noted", outputs="notes", step="notes")
    await nightly

    assert (await nodes(program))["notes"]["objective"] == "throughput"


async def test_a_label_that_comes_later_changes_what_still_waits(program: Program) -> None:
    gateway = program.rig.gateway
    middle = program.begin("{{a}}", inputs="a", outputs="b", step="middle")
    await program.until_parked()
    graph = gateway.programs.find("default", program.session)
    assert graph is not None
    producer = graph.get_producer("b")
    assert producer is not None
    assert (standing := graph.queue(producer)) is not None
    assert (standing.objective, standing.depth) == (None, 0)
    final = program.begin("{{b}}", inputs="b", objective="latency")
    await program.until_parked(2)

    assert (standing := graph.queue(producer)) is not None
    assert (standing.objective, standing.depth) == ("latency", 1)
    await program.put("a", "now")
    await middle
    assert said(await final) == "now"
    assert len(gateway.programs) == 0


async def test_consumers_that_fill_the_bound_do_not_keep_their_producers_out() -> None:
    """Every parked consumer's producer comes while the tenant's queue is full, and some of them have inputs too."""
    limits = {"limits__parked_per_tenant": 8, "limits__queue_per_tenant": 1, "schedule__max_calls_per_worker": 1}
    async with run_rig([Behaviour()], **limits) as rig:
        program = Program(rig, "run-1")
        finals = [program.begin(f"{{{{b{n}}}}}", inputs=f"b{n}") for n in range(8)]
        await program.until_parked(8)
        assert (await program.call("{{x}}", inputs="x")).json()["error"]["code"] == "too_many_parked"

        middles = [program.begin(f"{{{{a{n}}}}}", inputs=f"a{n}", outputs=f"b{n}") for n in range(8)]
        await program.until_parked(16)
        firsts = [program.begin(f"value {n}", outputs=f"a{n}") for n in range(8)]

        assert [said(await final) for final in finals] == [f"value {n}" for n in range(8)]
        for call in (*middles, *firsts):
            assert (await call).status_code == 200
        await rig.until_idle()
        assert len(rig.gateway.programs) == 0
