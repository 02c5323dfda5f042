"""One session of the model: its variables, its calls, and what its graph refuses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from tests.programs.call import Call, Stand, items_in, list_of
from tests.programs.world import DEPTH

OUTSIDE = -1
"""The producer of a variable that was set from outside."""


@dataclass
class Variable:
    """One variable: declared by a call, until it has a value or failed."""

    producer: int
    state: str = "declared"
    text: str = ""
    is_list: bool = False


UNKNOWN = Variable(OUTSIDE, "unknown")


@dataclass
class Session:
    """One session of one tenant."""

    variables: dict[str, Variable] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    """Those that were declared."""

    @property
    def names(self) -> tuple[str, ...]:
        """All that was ever declared, set or committed, and items that may be."""
        items = [f"{name}.{at}" for name, found in self.variables.items() if found.is_list for at in range(4)]
        return tuple(dict.fromkeys((*self.variables, *items)))

    def find(self, name: str) -> Variable:
        """Where a name stands: an item without a value stands as its list does."""
        own = self.variables.get(name)
        whole = self.variables.get(list_of(name), UNKNOWN)
        if own is not None or not whole.is_list:
            return own or UNKNOWN
        return replace(whole, state="past_end" if whole.state == "value" else whole.state, text="")

    def pending(self, call: Call) -> list[str]:
        """What a call has yet to produce."""
        return [n for n, v in self.variables.items() if v.producer == call.number and v.state == "declared"]

    def is_free(self, name: str, call: Call) -> bool:
        """Whether a call may declare a name."""
        names = (name, f"{name}.0") if name in call.lists else (name,)
        return all(self.find(each).state in ("unknown", "failed") for each in names)

    def declare(self, call: Call) -> None:
        """Take a call in."""
        self.calls.append(call)
        for name in call.outputs:
            self.variables[name] = Variable(call.number, is_list=name in call.lists)

    def commit(self, call: Call, values: Mapping[str, str]) -> bool:
        """Give a call's outputs, or items of its lists, their values, if they are still to have any."""
        names = [name if name in call.spec.outputs else list_of(name) for name in values]
        open_names = self.pending(call)
        if not set(names) <= set(open_names):
            return False
        for name, text in values.items():
            self.variables[name] = Variable(call.number, "value", text, is_list=name in call.lists)
        return True

    def fail(self, call: Call) -> None:
        """What a call has not produced by now it never will."""
        for name in self.pending(call):
            self.variables[name].state = "failed"

    def items(self, name: str) -> tuple[list[str], bool]:
        """The items of a list that are there from its start on, and whether that is all of it."""
        whole = self.find(name)
        if whole.state == "value":
            return items_in(whole.text) or [], True
        found: list[str] = []
        while whole.state == "declared" and (item := self.find(f"{name}.{len(found)}")).state == "value":
            found.append(item.text)
        return found, False

    def is_over(self, name: str) -> bool:
        """Whether a variable has its value, or a step is finished.

        It is once a call of that name has ended and none runs; one that was refused is none.
        """
        if self.find(name).state == "value":
            return True
        named = [call for call in self.calls if call.spec.step == name or name in call.outputs]
        return bool(named) and all(call.stand is Stand.OVER for call in named)

    def refuses(self, call: Call) -> str:
        """The error's code, if a call cannot be declared; else nothing."""
        if not all(self.is_free(name, call) for name in call.outputs):
            return "variable_taken"
        if any(name in call.outputs or list_of(name) in call.lists for name in call.names):
            return "graph_self"
        length = self._chain(call)
        return "graph_cycle" if length == float("inf") else "graph_too_deep" if length > DEPTH else ""

    def _chain(self, call: Call) -> float:
        """How many calls wait for each other in a row, through a new one; infinite in a cycle."""
        calls = [*self.calls, call]

        def sources(of: Call) -> set[int]:
            return {self._producer(name, call) for name in of.names} - {OUTSIDE}

        def up(of: Call, seen: frozenset[int]) -> float:
            if of.number in seen:
                return float("inf")
            behind = [each for each in calls if each.number in sources(of)]
            return 1 + max((up(each, seen | {of.number}) for each in behind), default=0)

        def down(of: Call) -> float:
            return 1 + max((down(each) for each in calls if of.number in sources(each)), default=0)

        above = up(call, frozenset())
        return above if above == float("inf") else above + down(call) - 1

    def _producer(self, name: str, new: Call) -> int:
        """Who is to produce a name that has no value yet."""
        if name in new.outputs or list_of(name) in new.lists:
            return new.number
        found = self.find(name)
        return found.producer if found.state == "declared" else OUTSIDE
