"""Tool calls: an id the engine made that comes back in a later prompt is an exact link. Pure.

Some models make ids that are not unique (`functions.search:0`): several calls then share one.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.graph.known import CallIndex, KnownCall

MAX_IDS = 64
"""Ids kept per reply, and looked up per prompt (its latest)."""
MAX_ID_CHARS = 255


class ToolCalls(CallIndex[str]):
    """Earlier calls by the ids of the tool calls they made."""

    __slots__ = ()

    def find(self, tool_results: Sequence[str]) -> list[Sequence[KnownCall]]:
        """For each known id that came back, the calls that may have made it."""
        get = self.get
        return [calls for tool_call_id in tool_results[-MAX_IDS:] if (calls := get(tool_call_id)) is not None]


def kept_ids(tool_call_ids: Sequence[str]) -> tuple[str, ...]:
    """The ids of one reply worth remembering: bounded, each once."""
    short = (one for one in tool_call_ids[:MAX_IDS] if 0 < len(one) <= MAX_ID_CHARS)
    return tuple(dict.fromkeys(short))
