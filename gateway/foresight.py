"""What a session's call is told of its program when it is ready, and what its end teaches.

Calls that steer nothing, or belong to no session, never come here.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from gateway.call import Call
from gateway.estimate.lengths import template_of
from gateway.estimate.programs import Name, ProgramTimes


class Foresight:
    """Between calls and what is learned of programs."""

    def __init__(self, times: ProgramTimes, clock: Callable[[], float]) -> None:
        self._times = times
        self._clock = clock

    def ready(self, call: Call) -> None:
        """The call is about to be queued: say what its program has left, where anything is known of it."""
        ready = call.ready
        if ready.program is None:
            return
        left, ends = self._times.ready(
            ready.program, program_name(call), call.hint.step, arrived_s=ready.arrived_s, now_s=self._clock()
        )
        if left is not None:
            call.ready = replace(ready, left_s=left.seconds, ends=ends)
        elif ends is not None:
            call.ready = replace(ready, ends=ends)

    def ended(self, call: Call) -> None:
        """The call has its outcome, or its reply: what it took is part of what its program takes."""
        if (
            call.ready.program is None
            or call.dispatched_s is None
            or not (call.computed or call.done_s is not None)
        ):
            return
        done_s = self._clock() if call.done_s is None else call.done_s
        tokens = 0 if call.usage is None else call.usage.completion_tokens
        self._times.ended(call.ready.program, call.hint.step, done_s - call.dispatched_s, tokens, now_s=done_s)

    def finished(self, program: str) -> None:
        """The session is over."""
        self._times.finish(program)

    def expire(self) -> None:
        """Take sessions of which nothing is heard any more as over. To be called about twice a second."""
        self._times.expire(self._clock())


def program_name(call: Call) -> Name:
    """Its tenant, and the name its caller gives the program, else the kind of prompt this call begins with."""
    name = call.hint.name
    return call.tenant, name if name is not None else f"#{template_of(call.ready.chain):x}"
