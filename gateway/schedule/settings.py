"""What may be set of the scheduler: policies by name, bounds and the seed. Frozen; checked when made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Final

POLICIES: Final[dict[str, frozenset[str]]] = {
    "order": frozenset(
        {"fcfs", "least_slack", "program_graph", "program_service", "shortest_remaining", "task_groups"}
    ),
    "group": frozenset({"none", "prefix"}),
    "place": frozenset({"least_load", "preble", "program_aware", "round_robin", "sibling_aware"}),
    "admit": frozenset({"calls", "class_tokens", "found", "tokens"}),
    "share": frozenset({"none", "weighted_service"}),
    "pause": frozenset({"none", "programs"}),
}
"""The names each kind of policy goes by; their constructors are in `policies/<kind>`."""


@dataclass(frozen=True, slots=True)
class SchedulerSettings:
    """Counts are at least 1, times and ratios at least 0.

    Raises: ValueError naming the setting, for a number out of range or a policy nobody knows.
    """

    order: str = "shortest_remaining"
    group: str = "prefix"
    place: str = "sibling_aware"
    admit: str = "found"
    share: str = "weighted_service"
    pause: str = "programs"
    seed: int = 0

    max_queue_per_tenant: int = 1024
    reserve_per_tenant: int = 10_000
    """What a tenant's queue takes beyond that of calls that were accepted before or that others wait for."""
    max_attempts: int = 3
    no_worker_grace_s: float = 10.0
    """How long a call waits for any worker of its model to come up."""
    max_programs: int = 16_384
    """Programs whose placement and service are remembered."""

    tenant_weights: Mapping[str, float] = field(default_factory=dict)
    """How much of the workers is a tenant's while calls wait, over what is another's; one where nothing is said."""
    claim_ratio: float = 0.5
    """With `pause`, how much of a worker's KV capacity programs may claim: the rest is what ended ones left."""
    tool_hold_s: float = 5.0
    """How long a program keeps its claim on a worker's KV capacity while it waits for its tools."""
    begin_ratio: float = 1.0
    """With `pause`: multiplies beside how many calls a program begins (`beginnings.py`)."""
    max_claim_s: float = 60.0
    """The longest a call waits for its program's claim: claims are estimates, and one may be of a whole worker."""
    max_pause_s: float = 300.0
    """The longest a call waits for its program's turn, and for its claim within that."""
    share_quantum_s: float = 1.0
    """Tenants are alike within so much service: class, deadline and program decide between them."""

    max_calls_per_worker: int = 128
    """In flight per worker over all replicas; this replica gets its share of it."""
    default_kv_tokens: int = 131_072
    """The token budget of a worker that does not tell its KV capacity."""
    budget_ratio: float = 1.0
    """Tokens in flight over the worker's KV capacity."""

    throughput_share: float = 0.25
    """What throughput calls may have in flight beside latency calls, of a worker's calls and tokens."""
    latency_slowdown: float = 2.0
    """How much longer than a single call's a step may be beside latency calls for the sake of throughput calls."""
    latency_linger_s: float = 0.5
    """How long after a latency call that stays so: the next of its program may be about to come."""

    sticky_margin: float = 0.5
    """A program leaves its worker when another's predicted cost is less by more than this part of it."""
    sticky_gain_s: float = 0.05
    """And by more than this: what is measured of equally fast workers differs by some milliseconds."""
    delay_weight: float = 2.0
    """What a second that a call's prompt costs another call beside it counts, of its own: more than 1, since those
    that come while it is computed are delayed too."""
    tie_ratio: float = 0.02
    """Predicted costs closer than this are a tie, drawn at random."""
    rebalance_ratio: float = 1.5
    """With `preble`: how much more a call may cost where its prefix is, before it is computed elsewhere too."""
    decode_interference: float = 0.1
    """How much longer a token takes per call running beside it."""
    max_patience_s: float = 300.0
    """The longest a call waits for the worker it would gain from before any worker may take it."""

    group_window_s: float = 0.5
    """How much younger (in rank) a call may be that goes early with its prefix group."""
    group_min_tokens: int = 256
    """The shortest shared prefix worth grouping."""

    fill_min_tokens: int = 256
    """The fewest tokens, cached nowhere yet, that are worth computing ahead of their call."""
    fill_below_calls: int = 1
    """A worker with fewer calls in flight than this, anybody's, may compute ahead."""
    max_fills_per_tenant: int = 64
    """Beginnings of a tenant's waiting calls that are remembered to be computed ahead."""

    service_quantum_s: float = 1.0
    """A program's service below this is in the first bin; each further bin is twice as wide."""
    service_weight: float = 1.0
    """Seconds of delay per second of service attained, the inverse of Autellix's starvation ratio."""
    remaining_weight: float = 2.0
    """Seconds of delay per second of service left, of a program or a task group."""
    class_slack_s: float = 20.0
    """Time to the deadline of a call that has none; four times as long for throughput, a quarter for latency."""
    throughput_offset_s: float = 20.0
    latency_lead_s: float = 10.0
    program_lead_s: float = 10.0
    """A call of a known program ranks at most so much earlier for when its program began."""
    program_grace_s: float = 30.0
    """Service that a program attains before any is held against it."""
    priority_step_s: float = 5.0
    max_delay_s: float = 60.0
    """A call ranks at most so much later than its arrival."""
    max_lead_s: float = 30.0
    """A call ranks at most so much earlier than its arrival."""

    def __post_init__(self) -> None:
        for each in fields(self):
            name, value = each.name, getattr(self, each.name)
            if isinstance(value, str):
                if value not in POLICIES[name]:
                    names = ", ".join(sorted(POLICIES[name]))
                    raise ValueError(f"{name} is {value!r}, must be one of {names}")
            elif isinstance(value, Mapping):
                if not all(weight > 0 for weight in value.values()):
                    raise ValueError(f"{name} is {dict(value)}, must be above 0")
            elif name != "seed" and not value >= (1 if isinstance(value, int) else 0):
                raise ValueError(f"{name} is {value}, out of range")


DEFAULT_SETTINGS: Final = SchedulerSettings()
