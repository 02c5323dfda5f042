"""What recorded prompts are taken to be made of, as texts by number. Pure.

Records hold no prompt text, but how long each prompt was and what of it was cached. So a call that is longer
than an earlier call that it waits for and that one's reply, and found a good part of it in the cache or ran
elsewhere, is taken to extend it. Any other begins with its program's text, as much as the program's first calls
usually found; goes on with its session's text, as much as it found beyond that, or as the next such call on its
worker found, since it must have been there by then; and ends with a text of its own. So sessions have in common
what their beginnings have, and calls of one session what they were seen to share.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Final

from gateway.graph.document import Node
from gateway.simulation.work import Message, Reply, Text

EXTENDS_SHARE: Final = 0.5
"""Of an earlier prompt, what must have been cached where both ran on one worker."""
_SESSION, _OWN = 3, 5


def common_tokens(firsts: Iterable[Node]) -> int:
    """How long a program's text is: what its sessions' first calls usually found in the cache."""
    return round(median(map(_cached_tokens, firsts)))


def prompts(
    nodes: Sequence[Node], before: Mapping[str, Sequence[Node]], common: Text, session: int
) -> dict[str, tuple[Message, ...]]:
    """The messages of a session's calls, by call. `before`: those that each waits for, earlier ones of `nodes`."""
    extended = {node["call_id"]: _extended(node, before[node["call_id"]]) for node in nodes}
    held_tokens = _held_tokens([node for node in nodes if extended[node["call_id"]] is None], common.tokens)
    found: dict[str, tuple[Message, ...]] = {}
    for index, node in enumerate(nodes):
        call_id, own = node["call_id"], hash((session, index, _OWN))
        earlier = extended[call_id]
        if earlier is None:
            shared = (common, Text(hash((session, _SESSION)), held_tokens[call_id]))
            found[call_id] = _begun(node, shared, own)
        else:
            added = Text(own, node["tokens"]["prompt"] - _context_tokens(earlier))
            found[call_id] = (*found[earlier["call_id"]], (Reply(earlier["call_id"]),), (added,))
    return found


def _extended(node: Node, before: Sequence[Node]) -> Node | None:
    """The longest of the calls before it that it goes on from."""
    tokens, cached = node["tokens"]["prompt"], _cached_tokens(node)
    for each in sorted(before, key=lambda each: -each["tokens"]["prompt"]):
        is_elsewhere = each["worker"] != node["worker"]
        has_found = cached >= EXTENDS_SHARE * each["tokens"]["prompt"]
        if tokens > _context_tokens(each) and (is_elsewhere or has_found):
            return each
    return None


def _held_tokens(nodes: Sequence[Node], beyond_tokens: int) -> dict[str, int]:
    """How much of the session's text is in each: what it, or the next one on its worker, found beyond so much."""
    held: dict[str, int] = {}
    later: dict[str | None, int] = {}
    for node in reversed(nodes):
        found = max(0, _cached_tokens(node) - beyond_tokens)
        held[node["call_id"]] = max(found, later.get(node["worker"], 0))
        later[node["worker"]] = found
    return held


def _begun(node: Node, shared: Iterable[Text], own: int) -> tuple[Message, ...]:
    """A prompt that begins with shared texts; one token at least is its own."""
    messages: list[Message] = []
    left = max(1, node["tokens"]["prompt"])
    for text in shared:
        tokens = min(text.tokens, left - 1)
        if tokens:
            messages.append((Text(text.content, tokens),))
            left -= tokens
    return (*messages, (Text(own, left),))


def _context_tokens(node: Node) -> int:
    """Its prompt and its reply."""
    return node["tokens"]["prompt"] + (node["tokens"]["completion"] or 1)


def _cached_tokens(node: Node) -> int:
    return node["cached"]["actual"] or 0
