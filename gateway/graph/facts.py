"""What lineage needs of a prompt, and what it answers. Bytes only: texts need not be valid UTF-8. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.nouns import Edge


class Turn(Protocol):
    """One message of a prompt, as the wire reads it."""

    @property
    def role(self) -> str:
        """`system`, `user`, `assistant`, `tool`, ..."""

    @property
    def text(self) -> bytes:
        """What a person would read of it."""


@dataclass(frozen=True, slots=True)
class PromptFacts:
    """A prompt as lineage sees it.

    `texts` holds one text per message, in order and aligned with `Chain.messages`; `assistants` are the indices
    of the assistant's messages, ascending; `tool_results` are the tool call ids the prompt answers, in order.
    """

    texts: Sequence[bytes] = ()
    assistants: Sequence[int] = ()
    tool_results: Sequence[str] = ()

    @classmethod
    def of(cls, turns: Sequence[Turn], tool_results: Sequence[str] = ()) -> PromptFacts:
        """Read the facts off a prompt's messages."""
        roles = [turn.role for turn in turns]
        assistants = [i for i, role in enumerate(roles) if role == "assistant"] if "assistant" in roles else ()
        return cls([turn.text for turn in turns], assistants, tool_results)


@dataclass(frozen=True, slots=True)
class Links:
    """Where a new call belongs. `inferred` says that `session` was not named by the caller.

    `adopted` are earlier calls that had no session until this call showed that they belong to `session`: their
    records are to be amended.
    """

    session: str | None = None
    inferred: bool = False
    edges: tuple[Edge, ...] = ()
    adopted: tuple[str, ...] = ()


NO_LINKS = Links()
