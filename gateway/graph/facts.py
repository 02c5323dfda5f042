"""What lineage needs of a prompt, and what it answers. Bytes only: texts need not be valid UTF-8. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from gateway.nouns import Edge


class PromptFacts(Struct, frozen=True):
    """A prompt as lineage sees it.

    `texts` holds one text per message, in order and aligned with `Chain.messages`; `assistants` are the indices
    of the assistant's messages, ascending; `tool_results` are the tool call ids the prompt answers, in order.
    """

    texts: Sequence[bytes] = ()
    assistants: Sequence[int] = ()
    tool_results: Sequence[str] = ()

    @classmethod
    def of(cls, roles: Sequence[str], texts: Sequence[bytes], tool_results: Sequence[str] = ()) -> PromptFacts:
        """Read the facts off a prompt's messages, given as their roles and texts."""
        assistants = [i for i, role in enumerate(roles) if role == "assistant"] if "assistant" in roles else ()
        return cls(texts, assistants, tool_results)


class Links(Struct, frozen=True):
    """Where a new call belongs. `inferred` says that `session` was not named by the caller.

    `adopted` are earlier calls that had no session until this call showed that they belong to `session`: their
    records are to be amended.
    """

    session: str | None = None
    inferred: bool = False
    edges: tuple[Edge, ...] = ()
    adopted: tuple[str, ...] = ()


NO_LINKS = Links()
