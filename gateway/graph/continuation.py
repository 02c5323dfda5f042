"""Conversations: a call whose messages extend an earlier call's prompt and answer continues it. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from xxhash import xxh3_64_intdigest

from gateway.graph.facts import PromptFacts
from gateway.graph.known import CallIndex, KnownCall

MAX_TURNS = 64
"""Assistant messages looked at, the latest first: the match is nearly always the last one."""


class Continuations:
    """Earlier calls by the conversation they leave behind: their whole prompt and their answer."""

    __slots__ = ("_turns",)

    def __init__(self) -> None:
        self._turns: CallIndex[tuple[int, int]] = CallIndex()

    def __len__(self) -> int:
        return len(self._turns)

    def add(self, call: KnownCall) -> None:
        """Remember the turn a call ended."""
        if call.turn is not None:
            self._turns.add(call.turn, call)

    def discard(self, call: KnownCall) -> None:
        """Forget it."""
        if call.turn is not None:
            self._turns.discard(call.turn, call)

    def find(self, messages: Sequence[int], facts: PromptFacts) -> tuple[int, Sequence[KnownCall]]:
        """The longest earlier conversation this prompt extends: index of its last message, and who held it.

        `messages` is `Chain.messages`. Without a match the index is -1.
        """
        for index in reversed(facts.assistants[-MAX_TURNS:]):
            if not 0 < index <= len(messages):
                continue
            calls = self._turns.get(turn_key(messages[index - 1], facts.texts[index]))
            if calls is not None:
                return index, calls
        return -1, ()


def turn_key(prompt_hash: int, answer: bytes) -> tuple[int, int]:
    """What a turn is known by. White space around the answer does not count: clients strip it."""
    return prompt_hash, xxh3_64_intdigest(answer.strip())
