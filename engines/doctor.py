"""What a worker's flags lack, and what each would buy. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from engines.base import Capabilities, WorkerInfo, WorkerLoad

COARSE_BLOCK_TOKENS = 64
CROWDED_KV = 0.9


class Grade(StrEnum):
    """How much a finding matters."""

    GOOD = "good"
    LACKS = "lacks"
    """A flag would buy something."""
    UNKNOWN = "unknown"
    """The worker does not tell."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line about one flag."""

    subject: str
    grade: Grade
    says: str
    flag: str | None = None
    """What to add to the worker's command line."""

    def __str__(self) -> str:
        line = f"{self.grade:<8} {self.subject}: {self.says}"
        return f"{line} Add {self.flag}" if self.flag else line


def examine(info: WorkerInfo, load: WorkerLoad | None) -> tuple[Finding, ...]:
    """All findings on a probed worker, most valuable first."""
    able = info.capabilities
    if load is None and able == Capabilities():
        return (
            Finding(
                "engine",
                Grade.UNKNOWN,
                "no vLLM metrics at /metrics: calls are relayed and balanced by what the gateway itself has in "
                "flight; cached prompts and KV memory cannot be seen.",
            ),
        )
    findings = [_prefix_caching(able), _prompt_tokens_details(able), _priority(able), _kv_events(able)]
    findings += [finding for finding in (_block_size(info), _capacity(info), *_load(load)) if finding is not None]
    return tuple(findings)


def _prefix_caching(able: Capabilities) -> Finding:
    if able.prefix_caching:
        return Finding("prefix caching", Grade.GOOD, "on: calls that share a prompt prefix skip its prefill.")
    return Finding(
        "prefix caching",
        Grade.LACKS,
        "off: every turn of a session recomputes all turns before it, and placement by prefix gains nothing.",
        "--enable-prefix-caching",
    )


def _prompt_tokens_details(able: Capabilities) -> Finding:
    if able.prompt_tokens_details:
        return Finding("cached tokens", Grade.GOOD, "reported: predictions of what is cached are checked.")
    return Finding(
        "cached tokens",
        Grade.LACKS,
        "not reported: the prefix index cannot be checked against what was really cached.",
        "--enable-prompt-tokens-details",
    )


def _priority(able: Capabilities) -> Finding:
    if able.priority:
        return Finding(
            "priority",
            Grade.UNKNOWN,
            "accepted; only under this policy does it order what waits inside the engine, and no route tells.",
            "--scheduling-policy priority (if it is not there)",
        )
    return Finding(
        "priority",
        Grade.LACKS,
        "refused: once the engine's own queue fills, it runs calls in order of arrival.",
        "--scheduling-policy priority",
    )


def _kv_events(able: Capabilities) -> Finding:
    if able.kv_events:
        return Finding("KV events", Grade.GOOD, "published: what is evicted can be known instead of guessed.")
    return Finding(
        "KV events",
        Grade.UNKNOWN if able.kv_events is None else Grade.LACKS,
        "whether they are published is not told." if able.kv_events is None else "off: evictions are guessed.",
        """--kv-events-config '{"enable_kv_cache_events":true,"publisher":"zmq","endpoint":"ipc:///run/vllm-kv"}'""",
    )


def _block_size(info: WorkerInfo) -> Finding | None:
    size = info.block_size
    if size is None or size <= COARSE_BLOCK_TOKENS:
        return None
    return Finding(
        "block size",
        Grade.LACKS,
        f"{size} tokens: only whole blocks are reused, so shared prefixes below {size} tokens never are.",
        "--block-size 32",
    )


def _capacity(info: WorkerInfo) -> Finding | None:
    capacity, longest = info.kv_capacity_tokens, info.max_model_len
    if capacity is None or longest is None or capacity >= 4 * longest:
        return None
    return Finding(
        "KV memory",
        Grade.LACKS,
        f"{capacity} tokens, for prompts of up to {longest}: a few long sessions evict all others.",
        "--gpu-memory-utilization (CPU: VLLM_CPU_KVCACHE_SPACE) or a smaller --max-model-len",
    )


def _load(load: WorkerLoad | None) -> tuple[Finding, ...]:
    if load is None:
        return ()
    found: list[Finding] = []
    if load.waiting and load.kv_usage < CROWDED_KV:
        found.append(
            Finding(
                "batch size",
                Grade.LACKS,
                f"{load.waiting} calls wait beside {load.running} running while KV memory has room "
                f"({load.kv_usage:.0%} used).",
                f"--max-num-seqs above {load.running}",
            )
        )
    if load.preemptions:
        found.append(
            Finding(
                "preemptions",
                Grade.LACKS,
                f"{load.preemptions} calls were thrown out of KV memory and recomputed.",
                "a smaller --max-num-seqs, or more KV memory",
            )
        )
    return tuple(found)
