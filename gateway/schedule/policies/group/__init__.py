"""Which queued calls go together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from gateway.nouns import ReadyCall
from gateway.schedule.policies.group.none import NoGroups
from gateway.schedule.policies.group.prefix import PrefixGroups
from gateway.schedule.settings import SchedulerSettings


class GroupPolicy(Protocol):
    """Names each call's group. Pure and without memory."""

    @property
    def window_s(self) -> float:
        """How much later than the head a member of its group may rank and still go right after it."""

    def key(self, call: ReadyCall) -> int | None:
        """Calls of one model with equal keys are a group; None is alone."""


GROUPS: Final[dict[str, Callable[[SchedulerSettings], GroupPolicy]]] = {
    "none": NoGroups,
    "prefix": PrefixGroups,
}
