"""Whether an acknowledged write survives: asked of the server's own settings. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

NEEDED = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction"}
"""What every node that takes writes must have."""

UNPROVABLE = "the server does not show its settings (CONFIG GET), so durability cannot be proved"
VOLATILE = "memory:// keeps everything in this process and loses it at its end"


def why_not_durable(nodes: Sequence[Mapping[str, str]]) -> str | None:
    """None if every node is durable, else what is missing."""
    for settings in nodes:
        if not all(settings.get(name) for name in NEEDED):
            return UNPROVABLE
        wrong = [
            f"{name} is {settings[name]}, not {value}" for name, value in NEEDED.items() if settings[name] != value
        ]
        if wrong:
            return "; ".join(wrong)
    return None if nodes else UNPROVABLE
