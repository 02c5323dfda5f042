import pytest
from msgspec.structs import replace

from gateway.graph.timeline import WIDTH, render
from gateway.graph.view import SessionMeta, call_view, session_view
from gateway.nouns import Edge, Record, Usage
from gateway.states import CallState, Outcome

BASE = Record(
    call_id="m1",
    tenant="acme",
    session="s1",
    name="mapreduce",
    step="map",
    parent=None,
    route="chat",
    model="m",
    state=CallState.TERMINAL,
    outcome=Outcome.DONE,
    status=200,
    worker="w0",
    why="load",
    attempts=1,
    arrived_at=1_000.0,
    queued_s=0.1,
    first_byte_s=0.3,
    done_s=1.0,
    prompt_tokens_estimate=90,
    usage=Usage(100, 20, 64),
    cached_tokens_predicted=60,
    objective="throughput",
    depth=0,
)
SECOND = replace(BASE, call_id="m2", arrived_at=1_000.2, worker="w1", done_s=2.0)
REDUCE = replace(
    BASE,
    call_id="r",
    step="reduce",
    arrived_at=1_002.5,
    done_s=1.5,
    edges=(Edge("m1", "inferred"), Edge("m2", "hint"), Edge("long-gone", "tool_call_id", "order")),
)
META = SessionMeta("mapreduce", placement="w0")


@pytest.fixture
def view():
    return session_view("s1", META, [REDUCE, SECOND, BASE])


def test_nodes_come_by_arrival_with_their_depth(view):
    assert [(node["call_id"], node["depth"]) for node in view["nodes"]] == [("m1", 1), ("m2", 1), ("r", 0)]


def test_a_node_says_what_became_of_the_call(view):
    assert view["nodes"][0] == {
        "call_id": "m1",
        "step": "map",
        "state": "terminal",
        "outcome": "done",
        "status": 200,
        "worker": "w0",
        "why": "load",
        "attempts": 1,
        "times": {
            "arrived_at": 1_000.0,
            "inputs_ms": 0.0,
            "queued_ms": 100.0,
            "first_byte_ms": 300.0,
            "done_ms": 1_000.0,
        },
        "tokens": {"prompt": 100, "completion": 20},
        "cached": {"predicted": 60, "actual": 64},
        "objective": "throughput",
        "depth": 1,
        "group": None,
    }


def test_names_make_edges_wherever_the_calls_were_declared():
    plan = replace(BASE, call_id="p", step="plan", outputs=("plan",), objective=None)
    lost = replace(plan, call_id="lost", arrived_at=1_000.1, outcome=Outcome.FAILED)
    item = replace(BASE, call_id="i", arrived_at=1_001.0, inputs=("plan.0", "unknown"), after=("plan",))
    assert session_view("s1", META, [item, plan, lost])["edges"] == [
        {"from": "p", "to": "i", "kind": "data", "known_by": "hint"},
        {"from": "p", "to": "i", "kind": "order", "known_by": "hint"},
    ]


def test_objectives_and_groups_are_deduced_from_the_callers_own_labels():
    maps = [
        replace(BASE, call_id=name, outputs=(name,), objective="throughput", labelled=False) for name in ("a", "b")
    ]
    final = replace(BASE, call_id="f", arrived_at=1_003.0, inputs=("a", "b"), objective="latency")
    nodes = session_view("s1", META, [*maps, final])["nodes"]
    assert [(node["objective"], node["depth"], node["group"]) for node in nodes] == [
        ("latency", 1, "f"),
        ("latency", 1, "f"),
        ("latency", 0, None),
    ]


def test_edges_say_how_they_were_known(view):
    assert view["edges"] == [
        {"from": "m1", "to": "r", "kind": "data", "known_by": "inferred"},
        {"from": "m2", "to": "r", "kind": "data", "known_by": "hint"},
        {"from": "long-gone", "to": "r", "kind": "order", "known_by": "tool_call_id"},
    ]


def test_totals_and_critical_path(view):
    assert view["critical_path"] == ["m2", "r"]
    assert view["totals"] == {
        "calls": 3,
        "prompt_tokens": 300,
        "completion_tokens": 60,
        "cached_tokens": 192,
        "wall_ms": 4_000.0,
        "critical_path_ms": 3_500.0,
    }


def test_waiting_for_a_value_is_no_part_of_the_critical_path():
    calls = [
        replace(BASE, call_id="p", outputs=("plan",), done_s=2.0),
        replace(BASE, call_id="c", inputs=("plan",), arrived_at=1_000.1, done_s=4.9),
        replace(BASE, call_id="beside", arrived_at=1_000.1, done_s=4.0),
    ]
    view = session_view("s1", META, calls)
    assert view["critical_path"] == ["p", "c"]
    assert view["totals"]["critical_path_ms"] == view["totals"]["wall_ms"] == 5_000.0


def test_what_a_tool_took_before_it_set_a_value_is_no_calls_time():
    calls = [
        replace(BASE, call_id="p", outputs=("plan",), done_s=2.0),
        replace(BASE, call_id="c", inputs=("found",), after=("plan",), inputs_s=5.0, queued_s=5.5, done_s=6.0),
    ]
    view = session_view("s1", META, [replace(call, first_byte_s=call.done_s) for call in calls])
    assert view["nodes"][0]["times"]["inputs_ms"] == 5_000.0
    assert view["totals"]["critical_path_ms"] == 3_000.0
    row = next(line for line in render(view).splitlines() if line.startswith("* #2"))
    assert (row.count(":"), row.count("."), row.count("-")) == (52, 5, 5)


def test_one_call_by_itself_says_where_it_belongs(view):
    alone = call_view(replace(REDUCE, depth=3))
    assert alone == {
        **view["nodes"][2],
        "depth": 3,
        "session": "s1",
        "name": "mapreduce",
        "model": "m",
        "edges": view["edges"],
    }


def test_a_call_not_done_has_an_estimate_and_no_end():
    running = replace(BASE, state=CallState.DISPATCHED, outcome=None, first_byte_s=None, done_s=None, usage=None)
    (node,) = session_view("s1", META, [running])["nodes"]
    assert (node["outcome"], node["times"]["done_ms"]) == (None, None)
    assert node["tokens"] == {"prompt": 90, "completion": None}
    assert node["cached"] == {"predicted": 60, "actual": None}


def test_a_call_whose_replica_died_is_lost():
    running = replace(BASE, state=CallState.STREAMING, outcome=None, done_s=None, usage=None)
    view = session_view("s1", SessionMeta(lost=frozenset({running.call_id})), [running, SECOND])
    assert [(node["state"], node["outcome"]) for node in view["nodes"]] == [("lost", None), ("terminal", "done")]
    graph, timeline = render(view).split("timeline")
    assert "lost w0" in graph
    assert timeline.count("lost") == 1
    assert "running" not in timeline


def test_the_last_record_of_a_call_counts():
    early = replace(BASE, state=CallState.READY, outcome=None)
    (node,) = session_view("s1", META, [early, BASE])["nodes"]
    assert node["state"] == "terminal"


def test_an_ended_session_without_calls():
    view = session_view("s1", SessionMeta(ended=True), [])
    assert (view["state"], view["nodes"], view["totals"]["wall_ms"]) == ("ended", [], 0.0)
    assert "0 calls" in render(view)


def test_text_lists_the_graph_with_its_edges(view):
    text = render(view)
    assert "session s1 (mapreduce): active on w0" in text
    assert "<- #1 inferred, <- #2 hint, after long-gone tool_call_id" in text
    assert all(len(line) <= WIDTH for line in text.splitlines())


def test_text_draws_each_call_where_it_ran(view):
    rows = [line for line in render(view).splitlines() if line.count("|") == 2]
    bars = [row.split("|")[1] for row in rows]
    assert [row[0] for row in rows] == [" ", "*", "*"]
    assert [bar.strip()[0] for bar in bars] == [".", ".", "."]
    assert bars[0].rstrip().endswith("=")
    assert bars[2].rstrip() == bars[2]
    starts = [len(bar) - len(bar.lstrip()) for bar in bars]
    assert starts[0] == 0 < starts[1] < starts[2]
    assert len({len(bar) for bar in bars}) == 1


def test_text_survives_running_calls_and_hostile_names():
    hostile = replace(BASE, step="\x1b[31m\nred" * 20, usage=None, done_s=None, first_byte_s=None, outcome=None)
    text = render(session_view("s\x07", SessionMeta("n\n"), [hostile, replace(SECOND, done_s=0.0)]))
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "running" in text
    assert all(len(line) <= WIDTH for line in text.splitlines())


def test_a_crowd_of_inputs_wraps():
    many = [replace(BASE, call_id=f"m{i}") for i in range(40)]
    reduce = replace(REDUCE, edges=tuple(Edge(call.call_id, "inferred") for call in many))
    text = render(session_view("s1", META, [*many, reduce]))
    assert text.count("<- ") == 40
    assert all(len(line) <= WIDTH for line in text.splitlines())
