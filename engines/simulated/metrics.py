"""A simulated worker's `/metrics`, with vLLM's names and labels. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Counts:
    """What the page says."""

    running: int
    waiting: int
    kv_usage: float
    prefix_queries_tokens: int
    prefix_hits_tokens: int
    preemptions: int
    finished: Mapping[str, int]
    """By finish reason."""


def page(model: str, block_size: int, kv_blocks: int, prefix_caching: bool, counts: Counts) -> str:
    """The text of `/metrics`."""
    labels = f'engine="0",model_name="{model}"'
    lines = [
        f"vllm:num_requests_running{{{labels}}} {float(counts.running)}",
        f"vllm:num_requests_waiting{{{labels}}} {float(counts.waiting)}",
        f"vllm:kv_cache_usage_perc{{{labels}}} {counts.kv_usage}",
        f"vllm:prefix_cache_queries_total{{{labels}}} {float(counts.prefix_queries_tokens)}",
        f"vllm:prefix_cache_hits_total{{{labels}}} {float(counts.prefix_hits_tokens)}",
        f"vllm:num_preemptions_total{{{labels}}} {float(counts.preemptions)}",
        f'vllm:cache_config_info{{block_size="{block_size}",enable_prefix_caching="{prefix_caching}",'
        f'engine="0",num_gpu_blocks="{kv_blocks}"}} 1.0',
    ]
    lines.extend(
        f'vllm:request_success_total{{engine="0",finished_reason="{reason}",model_name="{model}"}} '
        f"{float(counts.finished.get(reason, 0))}"
        for reason in ("stop", "length", "abort", "error")
    )
    return "\n".join(lines) + "\n"
