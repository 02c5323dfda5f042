"""One load run against one port: `wrk` where it is installed, the asyncio generator elsewhere."""

import asyncio
import itertools
from dataclasses import dataclass, field
from pathlib import Path

from loadtest.mixes import NUMBERS_PER_RUN, BodyTemplate, Mix, body_templates
from loadtest.overhead import wrk
from loadtest.overhead.generator import CallPlan, generate
from loadtest.overhead.results import LoadResult
from loadtest.overhead.wrk_script import ScriptPlan

_BLOCKS = 999
"""Runs with bodies of their own, as the digits of a body's number allow; after them numbers repeat."""


@dataclass(slots=True)
class Loader:
    """Runs loads one after another; no body and no session name is used by two of them."""

    folder: Path
    seed: int
    uses_wrk: bool = field(default_factory=wrk.is_installed)
    _runs: "itertools.count[int]" = field(default_factory=itertools.count)
    _templates: dict[Mix, tuple[BodyTemplate, ...]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The tool in use."""
        return "wrk" if self.uses_wrk else "asyncio"

    def timed(
        self, port: int, mix: Mix, connections: int, duration_s: int, mean_think_ms: float = 0.0
    ) -> LoadResult:
        """Load `port` for `duration_s`; with `mean_think_ms` (wrk only) each connection pauses between calls."""
        plan = self.plan(mix, connections)
        if not self.uses_wrk:
            return asyncio.run(generate(port, plan, None, duration_s))
        script = ScriptPlan(plan.templates, plan.run, plan.first_number, connections, mix.hinted, mean_think_ms)
        return wrk.run_wrk(port, script, duration_s, self.folder)

    def plan(self, mix: Mix, connections: int) -> CallPlan:
        """A fresh block of numbers and a fresh session prefix for one run of `mix`."""
        if mix not in self._templates:
            self._templates[mix] = body_templates(mix, self.seed)
        run = next(self._runs)
        first_number = run % _BLOCKS * NUMBERS_PER_RUN
        return CallPlan(self._templates[mix], f"bench-{self.seed}-{run}", first_number, connections, mix.hinted)
