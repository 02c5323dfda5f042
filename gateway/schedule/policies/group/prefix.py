"""Queued calls that share a prefix go to one worker together, so that it is computed once.

Parrot (Lin et al., OSDI'24, section 5.3 and algorithm 1) schedules calls with those that share their prompt prefix.
Here only calls of nearly equal rank do, so that a popular prefix delays nobody by more than the window.
"""

from __future__ import annotations

from gateway.nouns import ReadyCall
from gateway.schedule.settings import SchedulerSettings


class PrefixGroups:
    """The key is the hash at the first boundary with enough tokens before it."""

    __slots__ = ("_min_tokens", "window_s")

    def __init__(self, settings: SchedulerSettings) -> None:
        self._min_tokens = settings.group_min_tokens
        self.window_s = settings.group_window_s

    def key(self, call: ReadyCall) -> int | None:
        """None for a prompt shorter than the shortest prefix worth sharing."""
        chain = call.chain
        if not chain.tokens or chain.tokens[-1] < self._min_tokens:
            return None
        for position, tokens in enumerate(chain.tokens):
            if tokens >= self._min_tokens:
                return chain.hashes[position]
        return None
