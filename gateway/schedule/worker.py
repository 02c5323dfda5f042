"""A worker as the core sees it: what it may hold, what it holds, and the calls that wait for it alone."""

from __future__ import annotations

from math import inf as INFINITY
from math import isinf, sqrt
from typing import TYPE_CHECKING, Final

from gateway.cache.blocks import WorkerBlocks
from gateway.estimate.backlog import Backlog
from gateway.estimate.batch import Batch
from gateway.estimate.mix import Mix
from gateway.estimate.rates import WorkerRates
from gateway.schedule.climb import START_KNEES, Climb
from gateway.schedule.paused_queues import PausedQueues
from gateway.schedule.shared_queue import SharedQueue

if TYPE_CHECKING:
    from gateway.schedule.pool import Pool
    from gateway.schedule.want import Want


LIMIT_CROWD: Final = 2.0
"""The limit of calls is at least so many times the root of the knee times the calls that are there, and so at least
four times the knee once as many are: above the bound for programs that begin (`beginnings.py`), since calls of
those under way come on top."""


class WorkerState:
    """Mutable; changed only by the board and the core, read by policies. Counts are this replica's own calls."""

    __slots__ = (
        "backlog",
        "batch",
        "blocks",
        "budget_tokens",
        "calls",
        "climb",
        "external_calls",
        "filling",
        "fills",
        "latency_calls",
        "latency_left_s",
        "latency_waiting",
        "learns_from_s",
        "limit_calls",
        "limit_tokens",
        "load_read_s",
        "max_calls",
        "mix",
        "name",
        "paused",
        "pools",
        "queue",
        "rates",
        "returning",
        "service_s",
        "several_calls",
        "share",
        "single_calls",
        "throughput_calls",
        "throughput_tokens",
        "tokens",
        "up",
    )

    def __init__(self, name: str, rates: WorkerRates, budget_tokens: int, max_calls: int) -> None:
        self.name = name
        self.rates = rates
        self.batch = Batch()
        """Its calls in flight, over time."""
        self.mix = Mix()
        """How long the calls are that it is sent."""
        self.backlog = Backlog(rates)
        """Missing prompt tokens of the calls in flight that it has not computed yet."""
        self.up = False
        self.pools: list[Pool] = []
        self.queue = SharedQueue()
        """Calls that wait for this worker because they gain from it."""
        self.paused = PausedQueues()
        """Calls that gain from this worker, whose programs, not begun, wait for their turn or claim here."""
        self.returning = SharedQueue()
        """Calls of programs under way that have no claim here any more, and wait for one."""
        self.calls = 0
        self.several_calls: dict[str, int] = {}
        """Of them those of programs that are known to have several, by tenant; only of tenants that have any."""
        self.single_calls: dict[str, int] = {}
        """And the others: of no program, or of one that is not known to have several."""
        self.tokens = 0
        """Charged for the calls in flight: missing prompt tokens and expected output."""
        self.service_s = 0.0
        """Predicted service times of the calls in flight, summed."""
        self.latency_calls = self.throughput_calls = self.throughput_tokens = 0
        """Of the calls in flight and their charge."""
        self.latency_waiting = 0
        """Latency calls in `queue`."""
        self.latency_left_s: float | None = None
        """When the last latency call ended here, until that is a while ago: another of its chain may follow."""
        self.external_calls = 0
        """Calls of others, by the last reading of its load."""
        self.fills = False
        """Whether prefixes may be computed here ahead of their calls."""
        self.filling: Want | None = None
        """What is being computed ahead here just now: no call in flight, and in no account."""
        self.load_read_s = float("-inf")
        self.learns_from_s = float("-inf")
        """When its next reply may teach its rates."""
        self.blocks: WorkerBlocks | None = None
        """Of a worker whose KV events are told."""
        self.budget_tokens = budget_tokens
        self.max_calls = max_calls
        self.climb: Climb | None = None
        """Finds the limit of calls, where that is not what is set."""
        self.share = 1.0
        self.limit_tokens = budget_tokens
        self.limit_calls = max_calls

    def resize(self, budget_tokens: int | None = None, share: float | None = None) -> None:
        """Change the token budget or this replica's share of it."""
        if budget_tokens is not None:
            self.budget_tokens = budget_tokens
        if share is not None:
            self.share = min(1.0, max(0.0, share))
        self.limit_tokens = int(self.budget_tokens * self.share)
        self.limit_calls = max(1, int(self.max_calls * self.share))
        if self.climb is not None:
            self.climb.resize(self.limit_calls)
            self.set_limit()

    def find_limit(self) -> None:
        """From now on its limit of calls is found."""
        self.climb = Climb(self.limit_calls)
        self.guess_limit()

    def guess_limit(self) -> None:
        """Until it was found, the limit is this replica's share of what the worker is known to gain from."""
        if self.climb is not None and self.rates.knee is not None:
            self.climb.begin(START_KNEES * self.rates.knee.calls() * self.share)
        self.set_limit()

    def set_limit(self) -> None:
        """What was found or is tried; or more, by how many calls are there: to be called every now and then.

        What throughput a low limit costs makes all that wait, and all that come, wait longer.
        """
        climb = self.climb
        if climb is None:
            return
        there = self.calls + self.queued_calls() + self.paused_calls()
        crowd = int(min(LIMIT_CROWD * self.crowd_calls(there), climb.most))
        self.limit_calls = crowd if crowd > climb.base else climb.limit

    def knee_calls(self) -> float:
        """How many calls like those it was lately sent it gains from, this replica's share; infinite if unknown."""
        if self.rates.knee is None:
            return INFINITY
        knee_calls = self.rates.knee.calls_with_prompts(self.mix.output_tokens, self.mix.missing_tokens)
        return INFINITY if isinf(knee_calls) else knee_calls * self.share

    def crowd_calls(self, there: float) -> float:
        """The root of the knee times the calls that are there, inside or waiting; 0 while nobody knows the knee.

        With the knee k, n at once give a throughput of n / (n + k / 2) of what it can be, so that N calls end on
        average after (N + n) / 2 times (n + k / 2) / n: least at the root of k * N / 2. While more keep coming,
        what is lost in throughput makes these wait as well, and n should be greater.
        """
        knee_calls = self.knee_calls()
        return 0.0 if isinf(knee_calls) else sqrt(knee_calls * there)

    def work(self, missing_tokens: int, output_tokens: int) -> float:
        """Of a reply, in tokens of output: prompt tokens by what they take of its time beside one of these."""
        return output_tokens + missing_tokens * self.rates.prefill_s / max(self.rates.step_s(1.0, 0.0), 1e-9)

    def is_near_latency(self) -> bool:
        """Whether a latency call is in flight here, was just now, or waits for this worker or any of its pools."""
        if self.latency_calls or self.latency_waiting or self.latency_left_s is not None:
            return True
        return any(pool.latency_waiting for pool in self.pools)

    def is_awaited(self) -> bool:
        """Whether a call that may go waits for this worker, or for any of its pools."""
        return self.queue.live > 0 or any(pool.queue.live for pool in self.pools)

    def load(self) -> float:
        """How full it is: 0 is idle; calls of others count by their number."""
        return self.tokens / self.budget_tokens + (self.calls + self.external_calls) / self.max_calls

    def wait_s(self) -> float:
        """Until a call queued here now would be dispatched, while the worker is full.

        Calls leave at the rate of those in flight over their mean service time; those queued here, and this
        worker's part of the pools' queues, go first.
        """
        return self._until_left_s(self.queued_calls() + 1.0)

    def turn_s(self) -> float:
        """About how long a program waits here for its turn: after all that wait, one for each call that ends."""
        return self._until_left_s(self.paused_calls() + 1.0)

    def tenant_calls(self) -> dict[str, int]:
        """Calls in flight by tenant."""
        calls = dict(self.several_calls)
        for tenant, single in self.single_calls.items():
            calls[tenant] = calls.get(tenant, 0) + single
        return calls

    def calls_like(self, of_several: bool) -> dict[str, int]:
        """Calls in flight by tenant: of programs that are known to have several, or the others."""
        return self.several_calls if of_several else self.single_calls

    def queued_calls(self) -> float:
        """Those that may go and wait for it, and its part of those that wait for any."""
        calls = float(self.queue.live)
        for pool in self.pools:
            if pool.up:
                calls += pool.queue.live / len(pool.up)
        return calls

    def paused_calls(self) -> float:
        """Those whose programs wait for their turn here, and this worker's part of those that wait for any."""
        calls = float(self.paused.live)
        for pool in self.pools:
            if pool.up:
                calls += pool.paused.live / len(pool.up)
        return calls

    def _until_left_s(self, calls: float) -> float:
        """Until so many of the calls in flight have left."""
        return calls * self.service_s / (self.calls * self.calls) if self.calls else 0.0
