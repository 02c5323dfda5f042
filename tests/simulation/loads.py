"""Small loads for the tests of the simulation."""

from __future__ import annotations

from random import Random

from gateway.simulation.work import PlannedCall, PlannedProgram, Reply, Text


def agents(count: int, seed: int = 0, rate_per_s: float = 2.0, turns: int = 4) -> list[PlannedProgram]:
    """Conversations of `turns` calls over one system prompt, with gaps."""
    random = Random(seed)
    start_s, found = 0.0, []
    for number in range(count):
        start_s += random.expovariate(rate_per_s)
        messages, calls = [(Text(1, 200),)], []
        for turn in range(turns):
            messages.append((Text(1000 + 10 * number + turn, random.randint(20, 200)),))
            gap_s = random.expovariate(2) if turn else 0.0
            calls.append(PlannedCall(f"turn-{turn}", tuple(messages), random.randint(5, 60), gap_s=gap_s))
            messages.append((Reply(f"turn-{turn}"),))
        found.append(PlannedProgram("agent", f"agent-{number}", start_s, tuple(calls)))
    return found


def chain(session: str, steps: int, start_s: float = 0.0) -> PlannedProgram:
    """Each call reads the reply of the one before."""
    calls = [PlannedCall("0", ((Text(hash((5, len(session))), 100),),), 10)]
    calls += [PlannedCall(str(step), ((Text(9, 30), Reply(str(step - 1))),), 10) for step in range(1, steps)]
    return PlannedProgram("chain", session, start_s, tuple(calls))
