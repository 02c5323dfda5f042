"""Programs of mixed lengths: agents with tool gaps, copilots over long shared prompts, single calls. Pure.

A seed decides their lengths too, so that a load of many of them is mixed. Shapes after the sessions of coding
agents (turn after turn over a growing context, a tool between two of them) and Parrot's copilot and GPTs workloads
(many users of a few long prompts), scaled to a small model on two CPU cores.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random

from loadtest.program.graph import Ask, Lookup, Message, Program, Step
from loadtest.program.prose import prose
from loadtest.program.shapes import SHAPES

TOOLS_WORDS, COPILOT_WORDS, COPILOTS = 120, 450, 3
TURNS = (3, 6)
TOOL_WORDS = (15, 90)
TOOL_GAP_S = (0.1, 1.5)
QUESTION_WORDS, ALONE_WORDS = (10, 50), (30, 180)
AGENT_TOKENS, ANSWER_TOKENS = (8, 16, 24, 48), (8, 16, 32, 64)
LONG_STEPS = 10


def agent(seed: int) -> Program:
    """Three to six turns over one growing conversation, a tool of 0.1 to 1.5 s between two of them."""
    random = Random(f"agent-{seed}")
    steps: list[Step] = []
    said: tuple[Message, ...] = ()
    text = f"The task: {prose(random, random.randint(*QUESTION_WORDS))}"
    turns = random.randint(*TURNS)
    for turn in range(turns):
        steps.append(Ask(f"turn.{turn}", text, random.choice(AGENT_TOKENS), said))
        said = (*said, ("user", text), ("assistant", f"{{{{turn.{turn}}}}}"))
        text = f"The tool says: {{{{tool.{turn}}}}}"
        if turn < turns - 1:
            found = prose(random, random.randint(*TOOL_WORDS))
            steps.append(Lookup(f"tool.{turn}", (f"turn.{turn}",), _always(found), random.uniform(*TOOL_GAP_S)))
    return Program("agent", prose(Random("agent-tools"), TOOLS_WORDS), tuple(steps), is_shared=True)


def copilot(seed: int) -> Program:
    """One question to one of three copilots; all users of a copilot share its long prompt."""
    random = Random(f"copilot-{seed}")
    system = prose(Random(f"copilot-{random.randrange(COPILOTS)}"), COPILOT_WORDS)
    question = prose(random, random.randint(*QUESTION_WORDS))
    return Program("copilot", system, (Ask("answer", question, random.choice(ANSWER_TOKENS)),), is_shared=True)


def single(seed: int) -> Program:
    """One call that shares nothing with any other."""
    random = Random(f"single-{seed}")
    text = prose(random, random.randint(*ALONE_WORDS))
    return Program("single", prose(random, 10), (Ask("answer", text, random.choice(ANSWER_TOKENS)),))


def long(seed: int) -> Program:
    """Ten steps in a row, more service than any other program asks for: what shortest-first would starve."""
    random = Random(f"long-{seed}")
    parts = [f"Go on: {prose(random, 60)}" for _ in range(LONG_STEPS)]
    asks = [
        Ask(f"note.{index}", f"So far: {{{{note.{index - 1}}}}}\n{part}" if index else part, 48)
        for index, part in enumerate(parts)
    ]
    return Program("long", prose(random, 60), tuple(asks))


SESSIONS: Mapping[str, Callable[[int], Program]] = {
    "agent": agent,
    "copilot": copilot,
    "single": single,
    "long": long,
}
"""By name: the program for a seed, its lengths drawn too."""
PROGRAMS: Mapping[str, Callable[[int], Program]] = {**SHAPES, **SESSIONS}
"""All that are made up."""


def _always(found: str) -> Callable[[Mapping[str, str]], str]:
    return lambda _values: found
