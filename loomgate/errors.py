"""What a workflow raises of its own; a call's own failure is the SDK's exception, as without the helper."""

from __future__ import annotations

_DEPENDENCY_FAILED = 424


class InputFailed(Exception):
    """A call did not run, because a variable that it reads will never have a value.

    `__cause__` is the failure of the call that should have produced it, where that was a call of the same
    workflow, else the SDK's exception for the 424; the first cause of all is at the chain's end.
    """

    def __init__(self, step: str, variable: str, message: str) -> None:
        super().__init__(f"{step}: {message}")
        self.step = step
        """The step that did not run."""
        self.variable = variable
        """The variable it waited for."""


def missing_variable(error: BaseException) -> str | None:
    """The variable that a 424 names; None for any other error."""
    if getattr(error, "status_code", None) != _DEPENDENCY_FAILED:
        return None
    name = getattr(error, "param", None)
    return name if isinstance(name, str) else None
