"""vLLM V1 step by step, without a model and without a clock: what each iteration computes, and how long. Pure.

After vllm/v1/core/sched/scheduler.py. There is no prefill phase and no decode phase: each step gives requests
tokens to compute until the budget is spent, the running ones first, in order, then those that wait, as long as the
first of them has room for all it knows. A running request that gets no block makes the last one (under priority:
the least urgent one) give up all of its own and wait to be computed again. Blocks can be found by others from the
moment they are given out, so that calls which begin alike share within one step.
"""

from __future__ import annotations

from engines.simulated.blocks import BlockEvent, BlockPool
from engines.simulated.costs import StepCosts
from engines.simulated.limits import EngineLimits
from engines.simulated.request import EngineRequest
from engines.simulated.step import Step, Work
from engines.simulated.waiting import ByPriority, InOrder, Waiting


class TooLong(ValueError):
    """A request that the cache could never hold."""


class IterationModel:
    """One engine. Mutable; between two steps requests may come and go."""

    __slots__ = (
        "_arrivals",
        "_costs",
        "limits",
        "pool",
        "preemptions",
        "prefix_hit_tokens",
        "prefix_query_tokens",
        "running",
        "steps",
        "waiting",
    )

    def __init__(self, limits: EngineLimits, costs: StepCosts, *, tells: bool = False) -> None:
        """`tells`: whether `pool.take_events` has anything to tell."""
        self.limits = limits
        self._costs = costs
        self.pool = BlockPool(limits.kv_blocks, limits.block_tokens, is_caching=limits.is_caching, tells=tells)
        self.waiting: Waiting = ByPriority() if limits.by_priority else InOrder()
        self.running: list[EngineRequest] = []
        self.steps = 0
        self.preemptions = 0
        self.prefix_query_tokens = 0
        self.prefix_hit_tokens = 0
        self._arrivals = 0

    @property
    def is_idle(self) -> bool:
        """Whether nothing is left to do."""
        return not self.running and not len(self.waiting)

    def add(self, request: EngineRequest) -> None:
        """A request waits from now on. Raises: TooLong."""
        if request.prompt_tokens + request.output_tokens > self.limits.kv_tokens:
            raise TooLong(f"{request.name} does not fit into {self.limits.kv_tokens} tokens of KV cache")
        self._arrivals += 1
        request.arrival = self._arrivals
        self.waiting.add(request)

    def abort(self, request: EngineRequest) -> None:
        """Nobody wants it any more; it may be anywhere, or over."""
        if request in self.running:
            self.running.remove(request)
            self.pool.release(request)
        elif request in self.waiting:
            self.waiting.remove(request)

    def step(self) -> Step:
        """Compute one iteration. Its effects are there at once; the caller lets its duration pass."""
        work = Work(self.limits.max_num_batched_tokens)
        preempted = self._schedule_running(work)
        if not preempted:
            self._schedule_waiting(work)
        self.steps += 1
        self.preemptions += preempted
        duration_s = self._costs.duration_s(
            work.prefill_tokens, work.decode_sequences, work.context_tokens, work.prefill_pairs
        )
        advanced, finished = self._advance(work)
        return Step(duration_s, advanced, finished, work.prefill_tokens)

    def uniform_steps(self) -> int:
        """How many of the next steps are alike: every running request gets one token, none ends before the last of
        them, nobody joins and nobody has to go. 0 where the next one is not."""
        running, limits = self.running, self.limits
        if not running or len(running) > limits.max_num_batched_tokens:
            return 0
        if len(self.waiting) and len(running) < limits.max_num_seqs:
            return 0
        if not all(request.is_decoding for request in running):
            return 0
        steps = min(request.output_tokens - request.outputs for request in running)
        pool = self.pool
        needed = sum(pool.blocks_for(request.computed_tokens + steps) - len(request.blocks) for request in running)
        return steps if needed <= pool.free_blocks else 0

    def leap_s(self, steps: int) -> float:
        """How long so many uniform steps take."""
        return self._costs.decode_s(steps, len(self.running), sum(request.tokens for request in self.running))

    def leap(self, steps: int) -> Step:
        """Compute so many uniform steps at once, at most `uniform_steps`: the same as one after the other."""
        duration_s = self.leap_s(steps)
        self.steps += steps
        pool = self.pool
        for request in self.running:
            request.computed_tokens += steps
            request.outputs += steps
            request.tokens += steps
            if request.computed_tokens > len(request.blocks) * pool.block_tokens:
                pool.extend(request, request.computed_tokens)
            pool.name(request, request.computed_tokens)
        advanced = tuple(self.running)
        finished = tuple(request for request in advanced if request.outputs >= request.output_tokens)
        self._end(finished)
        return Step(duration_s, advanced, finished)

    def take_events(self) -> list[BlockEvent]:
        """What was stored in the cache and evicted since this was last asked, in order."""
        return self.pool.take_events()

    def _schedule_running(self, work: Work) -> int:
        """Give running requests their next tokens; how many had to make room for that."""
        pool, running = self.pool, self.running
        index = preempted = 0
        while index < len(running) and work.budget:
            request = running[index]
            tokens = min(request.tokens - request.computed_tokens, work.budget)
            while not pool.fits(request, (), request.computed_tokens + tokens):
                victim = self._victim()
                index -= running.index(victim) < index
                self._preempt(victim, work)
                preempted += 1
                if victim is request:
                    break
            else:
                self._give(request, tokens, work)
                index += 1
                continue
            break
        return preempted

    def _schedule_waiting(self, work: Work) -> None:
        """Let those run that wait, in order, while there is budget, a place and room for all they know."""
        pool, running, waiting = self.pool, self.running, self.waiting
        while len(waiting) and work.budget and len(running) < self.limits.max_num_seqs:
            request = waiting.head()
            found = pool.find(request)
            if not pool.fits(request, found, request.tokens):
                return
            waiting.pop()
            pool.adopt(request, found)
            cached_tokens = request.computed_tokens = len(found) * pool.block_tokens
            if request.cached_tokens is None:
                request.cached_tokens = cached_tokens
                self.prefix_query_tokens += request.tokens
                self.prefix_hit_tokens += cached_tokens
            running.append(request)
            self._give(request, min(request.tokens - cached_tokens, work.budget), work)

    def _give(self, request: EngineRequest, tokens: int, work: Work) -> None:
        upto = request.computed_tokens + tokens
        self.pool.extend(request, upto)
        self.pool.name(request, upto)
        work.add(request, tokens)

    def _victim(self) -> EngineRequest:
        if self.limits.by_priority:
            return max(self.running, key=lambda request: (request.priority, request.arrival))
        return self.running[-1]

    def _preempt(self, request: EngineRequest, work: Work) -> None:
        self.running.remove(request)
        work.drop(request)
        self.pool.release(request)
        request.computed_tokens = 0
        request.preemptions += 1
        self.waiting.add_back(request)

    def _advance(self, work: Work) -> tuple[tuple[EngineRequest, ...], tuple[EngineRequest, ...]]:
        advanced: list[EngineRequest] = []
        for request, tokens in work.given.items():
            request.computed_tokens += tokens
            if request.computed_tokens == request.tokens:
                request.outputs += 1
                request.tokens += 1
                advanced.append(request)
        finished = tuple(request for request in advanced if request.outputs >= request.output_tokens)
        self._end(finished)
        return tuple(advanced), finished

    def _end(self, finished: tuple[EngineRequest, ...]) -> None:
        if finished:
            gone = set(finished)
            self.running = [request for request in self.running if request not in gone]
            for request in finished:
                self.pool.release(request)
