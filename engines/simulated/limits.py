"""What an engine is started with, as far as it decides what an iteration computes. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """vLLM's flags. Raises: ValueError for what vLLM would not start with."""

    kv_blocks: int = 4096
    """`--num-gpu-blocks-override`."""
    block_tokens: int = 16
    """`--block-size`."""
    max_num_batched_tokens: int = 2048
    max_num_seqs: int = 256
    is_caching: bool = True
    """`--enable-prefix-caching`."""
    by_priority: bool = True
    """`--scheduling-policy priority`."""

    def __post_init__(self) -> None:
        if self.kv_blocks < 2 or self.block_tokens < 1 or self.max_num_seqs < 1:
            raise ValueError(f"{self} leaves no room for a request")
        if self.max_num_batched_tokens < self.max_num_seqs:
            raise ValueError(
                f"max_num_batched_tokens {self.max_num_batched_tokens} < max_num_seqs {self.max_num_seqs}"
            )

    @property
    def kv_tokens(self) -> int:
        """What fits into the cache."""
        return (self.kv_blocks - 1) * self.block_tokens
