"""The systems that are compared: their names, what their calls say, their command lines. Pure.

| name | is | calls say |
|---|---|---|
| `loomgate/MODE` | this gateway; MODE as in `program/modes.py` | as the mode says |
| `loomgate/MODE+KEY=VALUE...` | the same with settings of `[schedule]` changed: an ablation | the same |
| `round_robin` | this gateway with every policy switched off and hints unread | nothing |
| `sticky` | the same, but for hints: a session stays where the caches and load of its first call put it | session |
| `vllm-router/POLICY` | its `--policy` | `x-session-id` where the policy reads it |
| `vllm-router/program` | its program scheduling, key `auto` | `x-session-id` |
| `smg/POLICY` | its `--policy` | nothing |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from loadtest.peers import PEERS, Peer
from loadtest.program.modes import Mode

OURS = "loomgate"
ROUND_ROBIN = "round_robin"
STICKY = "sticky"
"""What any router with sessions does, and no more: the capacity that rates are parts of is measured through it."""
_OFF = {
    "LOOMGATE_SCHEDULE__PLACE": "round_robin",
    "LOOMGATE_SCHEDULE__ORDER": "fcfs",
    "LOOMGATE_SCHEDULE__GROUP": "none",
    "LOOMGATE_SCHEDULE__ADMIT": "calls",
    "LOOMGATE_SCHEDULE__SHARE": "none",
    "LOOMGATE_SCHEDULE__PAUSE": "none",
    "LOOMGATE_SCHEDULE__MAX_CALLS_PER_WORKER": "100000",
    "LOOMGATE_LIMITS__QUEUE_PER_TENANT": "100000",
    "LOOMGATE_HINTS__MODE": "off",
    "LOOMGATE_AHEAD__FILL": "false",
}
_KEEPS_SESSIONS = {
    **_OFF,
    "LOOMGATE_SCHEDULE__PLACE": "program_aware",
    "LOOMGATE_SCHEDULE__STICKY_MARGIN": "1",
    "LOOMGATE_SCHEDULE__DELAY_WEIGHT": "0",
    "LOOMGATE_HINTS__MODE": "on",
}
_PROGRAM_FLAGS = (
    "--enable-program-scheduling",
    "--program-scheduling-config-json",
    '{"program_scheduling_enable_key":"auto"}',
)
_ROUTER_MODES = {
    "cache_aware": Mode.PLAIN,
    "consistent_hash": Mode.SESSION,
    "sticky_least_loaded": Mode.SESSION,
    "kv_aware": Mode.SESSION,
}
_PEERS = {peer.name: peer for peer in PEERS}


@dataclass(frozen=True, slots=True)
class Workers:
    """What a system is put in front of."""

    urls: tuple[str, ...]
    model: str
    block_tokens: int | None = None
    kv_endpoints: tuple[str, ...] = ()
    """Where each publishes its KV events, as TCP addresses; empty where they publish none so."""
    kv_tokens: int = 0
    """Of all of them together; 0 where they do not tell."""
    max_num_seqs: int | None = None
    """Calls that each computes at once; None where that is not known."""


@dataclass(frozen=True, slots=True)
class System:
    """One of those compared."""

    name: str
    mode: Mode
    peer: Peer | None = None
    """None for this gateway."""
    flags: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_ours(self) -> bool:
        """Whether it is this gateway as such; `round_robin` and `sticky` are baselines."""
        return self.name.startswith(OURS)


def system(name: str) -> System:
    """The system of this name. Raises: ValueError, saying which names there are."""
    family, _, how = name.partition("/")
    if name == ROUND_ROBIN:
        return System(name, Mode.PLAIN, env=_OFF)
    if name == STICKY:
        return System(name, Mode.SESSION, env=_KEEPS_SESSIONS)
    if family == OURS and how:
        return _ours(name, how)
    if family == "vllm-router" and how == "program":
        return System(name, Mode.SESSION, _PEERS[family], ("--policy", "cache_aware", *_PROGRAM_FLAGS))
    if family == "vllm-router" and how in _ROUTER_MODES:
        return System(name, _ROUTER_MODES[how], _PEERS[family], ("--policy", how))
    if family == "smg" and how in ("cache_aware", "least_load"):
        return System(name, Mode.PLAIN, _PEERS[family], ("--policy", how))
    raise ValueError(f"no system {name!r}; there are: {', '.join((*OUR_NAMES, *PEER_NAMES, STICKY))}")


def _ours(name: str, how: str) -> System:
    mode, *changes = how.split("+")
    env: dict[str, str] = {}
    for change in changes:
        key, equals, value = change.partition("=")
        if not (key and equals and value):
            raise ValueError(f"{name!r}: {change!r} is not KEY=VALUE, a setting of [schedule]")
        section, _, field_name = key.rpartition(".")
        env[f"LOOMGATE_{(section or 'schedule').upper()}__{field_name.upper()}"] = value
    if mode not in list(Mode):
        raise ValueError(f"{name!r}: no mode {mode!r}; there are: {', '.join(Mode)}")
    return System(name, Mode(mode), env=env)


OUR_NAMES = tuple(f"{OURS}/{mode}" for mode in (Mode.GATEWAY, Mode.HINTS, Mode.SESSION, Mode.PLAIN))
PEER_NAMES = (
    *(f"vllm-router/{policy}" for policy in _ROUTER_MODES),
    "vllm-router/program",
    "smg/cache_aware",
    "smg/least_load",
    ROUND_ROBIN,
)


def peer_command(chosen: System, port: int, spare_port: int, workers: Workers) -> list[str]:
    """The command line of a peer. Raises: ValueError, for this gateway."""
    if chosen.peer is None:
        raise ValueError(f"{chosen.name} is no peer")
    program = str(chosen.peer.executable)
    if chosen.peer.name == "smg":
        flags = ["--backend", "vllm", "--prometheus-host", "127.0.0.1", "--disable-tokenizer-autoload"]
        start = [program, "launch", *_listen(port, spare_port), *flags]
    else:
        start = [program, *_listen(port, spare_port), "--worker-startup-check-interval", "1"]
        if "kv_aware" in chosen.flags:
            start += [*_kv_sources(workers), "--kv-aware-session-affinity-ttl-secs", "600"]
    return [*start, *chosen.flags, "--worker-urls", *workers.urls]


def _listen(port: int, spare_port: int) -> list[str]:
    flags = ["--host", "127.0.0.1", "--port", str(port), "--prometheus-port", str(spare_port)]
    return [*flags, "--log-level", "error"]


def _kv_sources(workers: Workers) -> list[str]:
    if not workers.kv_endpoints:
        return []
    pairs = zip(workers.urls, workers.kv_endpoints, strict=True)
    flags = [flag for url, endpoint in pairs for flag in ("--kv-event-source", f"{url}={endpoint}")]
    return [*flags, "--kv-event-block-size", str(workers.block_tokens), "--kv-event-model", workers.model]


def versions(names: Sequence[str]) -> Mapping[str, str]:
    """The installed version of each peer among the systems; a peer that is not installed is left out."""
    peers = {one.peer.name: one.peer for one in map(system, names) if one.peer is not None}
    return {name: peer.version for name, peer in peers.items() if peer.version is not None}
