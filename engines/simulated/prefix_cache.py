"""Which prompt prefixes a simulated worker has computed before: chained hashes, forgotten by age of use. Pure."""

from __future__ import annotations

from collections import OrderedDict

from engines.simulated.prompt import Prompt


class PrefixCache:
    """Holds at most `capacity_tokens` tokens of prefixes; salts are apart from each other."""

    def __init__(self, capacity_tokens: int) -> None:
        self._capacity_tokens = capacity_tokens
        self._tokens = 0
        self._held: OrderedDict[int, int] = OrderedDict()

    @property
    def usage(self) -> float:
        """Share of the capacity in use."""
        return self._tokens / self._capacity_tokens

    def cached_tokens(self, prompt: Prompt) -> int:
        """Tokens of the longest prefix held, never all of the prompt."""
        cached = 0
        for key, tokens in _chain(prompt):
            if key not in self._held:
                break
            self._held.move_to_end(key)
            cached += tokens
        return min(cached, prompt.tokens - 1)

    def store(self, prompt: Prompt) -> None:
        """Hold all its prefixes, in exchange for the least recently used ones."""
        for key, tokens in _chain(prompt):
            if key not in self._held:
                self._held[key] = tokens
                self._tokens += tokens
        while self._tokens > self._capacity_tokens:
            self._tokens -= self._held.popitem(last=False)[1]

    def clear(self) -> None:
        """Forget everything."""
        self._held.clear()
        self._tokens = 0


def _chain(prompt: Prompt) -> list[tuple[int, int]]:
    key = hash(prompt.salt)
    chain: list[tuple[int, int]] = []
    for text, tokens in prompt.pieces:
        key = hash((key, text))
        chain.append((key, tokens))
    return chain
