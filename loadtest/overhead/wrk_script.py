"""The Lua script that makes `wrk` send one mix: bodies, hint headers, think time, and a JSON summary. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from loadtest.mixes import CALLS_PER_SESSION, CHAT_PATH, NUMBER_DIGITS, BodyTemplate


@dataclass(frozen=True, slots=True)
class ScriptPlan:
    """One run of wrk; `run` is unique in the benchmark, `first_number` keeps every body of it distinct."""

    templates: Sequence[BodyTemplate]
    run: str
    first_number: int
    connections: int
    hinted: bool
    mean_think_ms: float = 0.0


_REQUEST = """
local number = 0
request = function()
  local k = number
  number = k + 1
  local headers = {{["Content-Type"] = "application/json"}}
  {hints}
  local i = k % #heads + 1
  local body = heads[i] .. string.format("%0{digits}d", {first} + k) .. tails[i]
  return wrk.format("POST", "{path}", headers, body)
end
"""

_HINTS = """
  local lap = math.floor(k / {connections})
  local step = lap % {calls}
  local session = math.floor(lap / {calls}) * {connections} + k % {connections}
  headers["X-Workflow-Session"] = "{run}-" .. session
  headers["X-Workflow-Name"] = "bench"
  headers["X-Workflow-Step"] = "step" .. step
  headers["X-Workflow-Outputs"] = "out" .. step
"""

_THINK = """
math.randomseed({seed})
delay = function()
  return math.floor(math.random() - {mean_ms} * math.log(1 - math.random()))
end
"""

_DONE = """
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '\\nWRK {"calls":%d,"duration_us":%d,"failed":%d,"p50_us":%d,"p99_us":%d}\\n',
    summary.requests, summary.duration, e.connect + e.read + e.write + e.status + e.timeout,
    latency:percentile(50), latency:percentile(99)))
end
"""


def lua_script(plan: ScriptPlan) -> str:
    """The whole script as text; every request is built by a counter, so one thread and one seed repeat it."""
    parts = [
        _table("heads", [template.head for template in plan.templates]),
        _table("tails", [template.tail for template in plan.templates]),
        _REQUEST.format(
            hints=_hints(plan) if plan.hinted else "",
            digits=NUMBER_DIGITS,
            first=plan.first_number,
            path=CHAT_PATH,
        ),
        _DONE,
    ]
    if plan.mean_think_ms > 0:
        parts.append(_THINK.format(seed=plan.first_number, mean_ms=f"{plan.mean_think_ms:.3f}"))
    return "".join(parts)


def _hints(plan: ScriptPlan) -> str:
    return _HINTS.format(connections=plan.connections, calls=CALLS_PER_SESSION, run=plan.run)


def _table(name: str, texts: Sequence[str]) -> str:
    rows = ",\n".join(f"[==[{text}]==]" for text in texts)
    return f"local {name} = {{\n{rows}\n}}\n"
