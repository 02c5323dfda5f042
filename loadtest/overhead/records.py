"""Did every call leave its record: the gateway's own counter and its session view, against what was sent."""

import asyncio
import http.client
import json
import time
import urllib.request
from collections.abc import Callable, Sequence
from functools import partial

from loadtest.mixes import CALLS_PER_SESSION, CELLS, Mix
from loadtest.overhead.generator import generate
from loadtest.overhead.load import Loader
from loadtest.overhead.results import RecordCheck, Sample
from loadtest.overhead.stage import System
from loadtest.overhead.summary import OURS

CALLS_METRIC = "loomgate_calls_total"
_CONNECTIONS = 8
_WHOLE_SESSIONS = _CONNECTIONS * CALLS_PER_SESSION
"""Calls after which every connection has ended its session."""
_DEADLINE_S = 60.0
SETTLE_S = 5.0
_SAMPLED_SESSIONS = 20


def counted_calls(gateway: System) -> int:
    """The sum of `loomgate_calls_total` over its labels, from the admin listener; raises `OSError`."""
    with urllib.request.urlopen(f"http://127.0.0.1:{gateway.admin_port}/metrics", timeout=5) as reply:
        return parse_calls(reply.read().decode())


def parse_calls(metrics: str) -> int:
    """The same from the Prometheus text; raises `KeyError` when the metric is not in it."""
    values = [
        float(line.rsplit(" ", 1)[1])
        for line in metrics.splitlines()
        if line.startswith((CALLS_METRIC + "{", CALLS_METRIC + " "))
    ]
    if not values:
        raise KeyError(CALLS_METRIC)
    return round(sum(values))


def check_mix(gateway: System, loader: Loader, what: str, mix: Mix, calls: int) -> RecordCheck:
    """Send about `calls` calls (whole sessions), wait until as many are counted, look into the hinted sessions."""
    calls = max(calls // _WHOLE_SESSIONS, 1) * _WHOLE_SESSIONS
    plan = loader.plan(mix, _CONNECTIONS)
    before = counted_calls(gateway)
    load = asyncio.run(generate(gateway.port, plan, calls, _DEADLINE_S))
    problem = f"{load.failed} FAILED" if load.failed else ""
    recorded = settled(partial(counted_calls, gateway), before + load.calls) - before
    if mix.hinted and not problem:
        problem = _session_problem(gateway.port, plan.run, calls // CALLS_PER_SESSION)
    return RecordCheck(what, load.calls, recorded, problem=problem)


def check_all_runs(before: int, after: int, samples: Sequence[Sample]) -> RecordCheck:
    """Everything the cells sent to our gateway; a run may end with one call in flight on each connection."""
    connections = {cell.label: cell.connections for cell in CELLS}
    ours = [sample for sample in samples if sample.system == OURS]
    cut_off = sum(connections[sample.cell] for sample in ours)
    return RecordCheck("all measured runs", sum(s.load.calls for s in ours), after - before, cut_off)


def _session_problem(port: int, run: str, sessions: int) -> str:
    """What is wrong with the first of the sampled sessions that lacks a call; empty when none does."""
    step = max(sessions // _SAMPLED_SESSIONS, 1)
    for number in range(0, sessions, step):
        session = f"{run}-{number}"
        seen = settled(partial(_session_calls, port, session), CALLS_PER_SESSION)
        if seen != CALLS_PER_SESSION:
            return f"session {session} holds {seen} of {CALLS_PER_SESSION} calls"
    return ""


def settled(read: Callable[[], int], expected: int) -> int:
    """What `read` says once it is at least `expected`, or after a few seconds: records are written behind."""
    give_up_s = time.monotonic() + SETTLE_S
    while (count := read()) < expected and time.monotonic() < give_up_s:
        time.sleep(0.05)
    return count


def _session_calls(port: int, session: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", f"/v1/workflow/sessions/{session}")
        reply = connection.getresponse()
        body = reply.read()
    finally:
        connection.close()
    nodes = json.loads(body).get("nodes") if reply.status == http.client.OK else None
    return len(nodes) if isinstance(nodes, list) else 0
