"""One request as the iteration model sees it: lengths, and the names of its blocks. Pure."""

from __future__ import annotations

from collections.abc import Sequence


class EngineRequest:
    """Mutable: the model moves it on. What it will answer is settled when it comes, as in a replay.

    `hashes` name the full blocks of its prompt and reply, in order: equal names mean equal content up to there.
    They may end early; blocks without a name are never shared.
    """

    __slots__ = (
        "arrival",
        "blocks",
        "cached_tokens",
        "computed_tokens",
        "hashes",
        "is_reported_fully",
        "name",
        "named_blocks",
        "output_tokens",
        "outputs",
        "preemptions",
        "priority",
        "prompt_tokens",
        "session_id",
        "tokens",
    )

    def __init__(
        self,
        name: str,
        prompt_tokens: int,
        output_tokens: int,
        hashes: Sequence[int] = (),
        *,
        priority: int = 0,
        session_id: str | None = None,
        is_reported_fully: bool = False,
    ) -> None:
        """Raises: ValueError, for a prompt or a reply without a token."""
        if prompt_tokens < 1 or output_tokens < 1:
            raise ValueError(f"{name}: {prompt_tokens} prompt tokens and {output_tokens} of output; 1 at least")
        self.name = name
        self.prompt_tokens = prompt_tokens
        self.output_tokens = output_tokens
        self.hashes = hashes
        self.priority = priority
        self.session_id = session_id
        """Comes back in KV events."""
        self.is_reported_fully = is_reported_fully
        """Whether the blocks it reuses are told like those it stores (`kv_cache_report_mode: full`)."""
        self.arrival = 0
        """Its turn among those of equal priority; given by the model."""
        self.outputs = 0
        """Tokens generated so far."""
        self.tokens = prompt_tokens
        """Known so far: the prompt's and those generated."""
        self.computed_tokens = 0
        """Of these, those whose keys and values are in the cache."""
        self.blocks: list[int] = []
        """The physical blocks it holds."""
        self.named_blocks = 0
        """Of these, the first ones, those that others can find."""
        self.cached_tokens: int | None = None
        """What it found in the cache when it first ran."""
        self.preemptions = 0

    @property
    def is_decoding(self) -> bool:
        """Whether one token is all that is missing, and it is one that was generated."""
        return self.outputs > 0 and self.computed_tokens == self.tokens - 1
