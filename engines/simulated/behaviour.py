"""How a simulated worker behaves: its speed, its flags, and the faults it can be told to commit."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

UNLIMITED = float("inf")


class PriorityRule(StrEnum):
    """What the worker does with a body's `priority`."""

    ORDERS = "orders"
    """As `--scheduling-policy priority`."""
    IGNORED = "ignored"
    """As vLLM 0.32 under fcfs."""
    REFUSED = "refused"
    """400 unless it is 0, as other versions under fcfs."""


class Fault(StrEnum):
    """What goes wrong with one request, named in its `x-fault` header or set by `POST /fault`."""

    DIE_BEFORE_FIRST_BYTE = "die-before-first-byte"
    DIE_MID_STREAM = "die-mid-stream"
    STALL_BEFORE_FIRST_BYTE = "stall-before-first-byte"
    STALL_MID_STREAM = "stall-mid-stream"
    GARBAGE_SSE = "garbage-sse"
    GARBAGE_HTTP = "garbage-http"
    SLOW_HEADERS = "slow-headers"
    ERROR_500 = "error-500"
    ERROR_429 = "error-429"


@dataclass(frozen=True, slots=True)
class Behaviour:
    """Everything settable. The default is as fast as it can be, and without faults."""

    model: str = "simulated"
    max_model_len: int = 8192
    prefill_tokens_per_s: float = UNLIMITED
    decode_tokens_per_s: float = UNLIMITED
    """Per request, whatever the batch."""
    output_tokens: int | None = None
    """Length of every reply, below `max_tokens`; None for one echo of the prompt."""
    reasoning_tokens: int = 0
    """Sent before the reply, as `reasoning`."""
    tool_calls: bool = False
    """Answer a request that offers tools by a call of the first one."""
    slots: int = 256
    """Requests computed at a time (`--max-num-seqs`); others wait."""
    kv_blocks: int = 4096
    block_size: int = 16
    prefix_caching: bool = True
    prompt_tokens_details: bool = True
    priority: PriorityRule = PriorityRule.ORDERS
    version: str = "0.32.0"
    api_key: str | None = None
    """Asked of every `/v1` route, as `--api-key`."""
    x_fault: bool = True
    """Whether the `x-fault` request header is obeyed."""
    slow_header_s: float = 0.05
    """Pause between the bytes of a slow head."""
    keep_alive_s: int = 5
    """Idle connections are closed after this."""
