"""Conversations: a call whose messages extend an earlier call's prompt and answer continues it. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from xxhash import xxh3_64_intdigest

from gateway.graph.facts import PromptFacts
from gateway.graph.known import CallIndex, KnownCall

MAX_TURNS = 64
"""Assistant messages looked at, the latest first: the match is nearly always the last one."""


class Continuations(CallIndex[tuple[int, int]]):
    """Earlier calls by the turn they ended: the conversation they leave behind."""

    __slots__ = ()

    def find(self, messages: Sequence[int], facts: PromptFacts) -> tuple[int, Sequence[KnownCall]]:
        """The longest earlier conversation this prompt extends: index of its last message, and who held it.

        `messages` is `Chain.messages`. Without a match the index is -1.
        """
        for index in reversed(facts.assistants[-MAX_TURNS:]):
            if not 0 < index <= len(messages):
                continue
            calls = self.get(turn_key(messages[index - 1], facts.texts[index].strip()))
            if calls is not None:
                return index, calls
        return -1, ()


def turn_key(prompt_hash: int, answer: bytes) -> tuple[int, int]:
    """What a turn is known by. `answer` is stripped: white space around it does not count, as clients do so too."""
    return prompt_hash, xxh3_64_intdigest(answer)
