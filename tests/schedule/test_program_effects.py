"""What the order is good for: whole programs through the real graph and core, on a worker in virtual time."""

from __future__ import annotations

from dataclasses import dataclass, field
from heapq import heappop, heappush
from statistics import mean

from msgspec.structs import replace

from gateway.graph.node import DeclaredCall
from gateway.graph.program import ProgramGraph
from gateway.nouns import ReadyCall
from gateway.schedule.core import Scheduler
from gateway.schedule.events import Arrived, Dispatch, Effect, Finished, Restood, Tick, WorkerUp
from gateway.schedule.settings import SchedulerSettings
from hints.model import Objective

LATENCY, THROUGHPUT = Objective.LATENCY, Objective.THROUGHPUT


@dataclass
class Bench:
    """One worker. A call takes its output in seconds, times one more tenth per call beside it when it starts."""

    settings: SchedulerSettings
    interference: float = 0.0
    now_s: float = 0.0
    ended_s: dict[str, float] = field(default_factory=dict)
    started: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.core = Scheduler(self.settings)
        self.graphs: dict[str, ProgramGraph] = {}
        self.missing: dict[str, set[str]] = {}
        self.calls: dict[str, ReadyCall] = {}
        self.running: list[tuple[float, str]] = []
        self.take(self.core.on(WorkerUp("w0", ("m",)), 0.0))

    def submit(self, program: str, call: DeclaredCall, output_s: int) -> None:
        """A call arrives, and is ready once all it reads has ended."""
        self.now_s += 0.001
        graph = self.graphs.setdefault(program, ProgramGraph(self.now_s))
        name = call.call_id
        self.calls[name] = ReadyCall(name, "t", "m", self.now_s, 1, output_s, program=program, objective=call.label)
        self.tell(graph.declare(call))
        self.missing[name] = {read for read in call.inputs if read not in self.ended_s}
        if not self.missing[name]:
            self.queue(name)

    def tell(self, changes) -> None:
        for name, standing in changes:
            call = replace(self.calls[name], objective=standing.objective, standing=standing)
            self.take(self.core.on(Restood(call), self.now_s))

    def queue(self, name: str) -> None:
        call = self.calls[name]
        graph = self.graphs[call.program or ""]
        standing = graph.queue(name)
        ready = replace(call, objective=standing.objective, standing=standing, began_s=graph.began_s)
        self.calls[name] = ready
        self.take(self.core.on(Arrived(ready), self.now_s))

    def take(self, effects: list[Effect]) -> None:
        for effect in effects:
            assert isinstance(effect, Dispatch)
            call = self.calls[effect.call_id]
            self.graphs[call.program or ""].start(call.call_id)
            self.started.append(call.call_id)
            takes_s = call.output_tokens * (1 + self.interference * len(self.running))
            heappush(self.running, (self.now_s + takes_s, call.call_id))
        self.core.integrity()

    def run(self) -> None:
        """Until nothing runs any more."""
        while self.running:
            self.now_s, name = heappop(self.running)
            self.ended_s[name] = self.now_s
            self.take(self.core.on(Tick(), self.now_s))
            self.take(self.core.on(Finished(name), self.now_s))
            self.tell(self.graphs[self.calls[name].program or ""].end(name))
            for waiting, missing in self.missing.items():
                if name in missing:
                    missing.discard(name)
                    if not missing:
                        self.queue(waiting)


def settings(order: str, admit: str = "class_tokens", slots: int = 2) -> SchedulerSettings:
    return SchedulerSettings(order=order, admit=admit, group="none", max_calls_per_worker=slots)


def call(name: str, *inputs: str, label: Objective | None = None) -> DeclaredCall:
    return DeclaredCall(name, label, inputs=inputs, outputs=(name,))


def map_reduces(order: str) -> tuple[float, list[str]]:
    """Two programs whose calls come by turns: the mean of their ends, and the order of dispatch."""
    bench = Bench(settings(order))
    for program in "ab":
        bench.submit(program, call(f"{program}.reduce", *(f"{program}.{n}" for n in range(16))), 1)
    for n in range(16):
        for program in "ab":
            bench.submit(program, call(f"{program}.{n}"), 1)
    bench.run()
    return mean(bench.ended_s[f"{program}.reduce"] for program in "ab"), bench.started


def test_a_group_that_goes_together_ends_programs_sooner_on_the_mean_than_first_come_first_served():
    served_s, by_turns = map_reduces("fcfs")
    graph_s, together = map_reduces("program_graph")
    assert by_turns[:4] == ["a.0", "b.0", "a.1", "b.1"]
    assert together[2:6] == ["a.1", "a.2", "a.3", "a.4"]
    assert graph_s < 0.85 * served_s


def two_branches(order: str) -> float:
    """One program: a chain of four beside eight short calls that came first, all of which its end reads."""
    bench = Bench(settings(order))
    leaves = [f"leaf.{n}" for n in range(8)]
    bench.submit("p", call("end", "chain.3", *leaves), 1)
    for n in (3, 2, 1):
        bench.submit("p", call(f"chain.{n}", f"chain.{n - 1}"), 1)
    for leaf in leaves:
        bench.submit("p", call(leaf), 1)
    bench.submit("p", call("chain.0"), 1)
    bench.run()
    return bench.ended_s["end"]


def test_the_deepest_first_shortens_a_program():
    assert two_branches("program_graph") <= two_branches("fcfs") - 1.5


def chain_beside_batch(admit: str) -> tuple[float, float]:
    """A latency chain of eight, its end alone labelled, beside eighty throughput calls: when each is over."""
    bench = Bench(settings("program_graph", admit, slots=16), interference=0.1)
    for n in range(80):
        bench.submit("batch", call(f"batch.{n}", label=THROUGHPUT), 2)
    for n in reversed(range(8)):
        reads = (f"chain.{n - 1}",) if n else ()
        bench.submit("chain", call(f"chain.{n}", *reads, label=LATENCY if n == 7 else None), 2)
    bench.run()
    return bench.ended_s["chain.7"], max(bench.ended_s.values())


def test_a_latency_chain_beside_throughput_work_ends_sooner_and_the_rest_is_done_too():
    plain_s, all_plain_s = chain_beside_batch("tokens")
    kept_s, all_kept_s = chain_beside_batch("class_tokens")
    assert kept_s < 0.8 * plain_s
    assert all_kept_s < 1.6 * all_plain_s


def test_a_throughput_call_has_room_beside_latency_calls_without_end():
    bench = Bench(settings("program_graph", slots=2))
    bench.submit("l", call("l.0", label=LATENCY), 5)
    bench.submit("t", call("t.0", label=THROUGHPUT), 5)
    bench.submit("t", call("t.1", label=THROUGHPUT), 5)
    bench.submit("l", call("l.1", label=LATENCY), 5)
    assert bench.started == ["l.0", "t.0"]
    bench.run()
    assert bench.started == ["l.0", "t.0", "l.1", "t.1"]
