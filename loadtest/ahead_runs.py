"""Programs that wait for a value, run once each: what their consumers saw, and what the engines counted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from random import Random

import httpx
import orjson

from engines.prometheus import samples
from loadtest.ahead_calls import FILES, Seen, Target, consume, produce, put, write_list
from loadtest.program.prose import prose

RULES_WORDS, LONG_WORDS, OWN_WORDS = 400, 300, 80
PLAN_TOKENS, SHORT_TOKENS, STREAMED_TOKENS = 96, 16, 128
SIBLINGS = 4
_PARK_S = 0.3
"""From sending the consumers to giving them their value: both sides of a comparison have it."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run of one program under one variant."""

    program: str
    variant: str
    round_number: int
    program_s: float
    """From its first request to its last byte."""
    consumers: tuple[Seen, ...]
    engine_requests: int
    """Requests the engines finished meanwhile: one more than the program's calls for every fill."""
    engine_hit_tokens: int
    """Prompt tokens they found in their prefix caches."""


class Case:
    """One program's texts and session, never used twice."""

    def __init__(
        self, client: httpx.AsyncClient, target: Target, program: str, round_number: int, seed: int
    ) -> None:
        self.random = Random(f"{program} {target.variant} {seed} {round_number}")
        self.client = client
        self.target = target
        self.session = f"{program}-{target.variant}-{round_number}-{time.time_ns()}"

    def text(self, words: int) -> str:
        """So many words that nobody said before."""
        return f"Case {self.random.getrandbits(64):x}. {prose(self.random, words)}"

    async def run(
        self, readers: Sequence[tuple[str, str]], give: Callable[[], Awaitable[None]], *, from_giving: bool = False
    ) -> list[Seen]:
        """Send calls that wait, each a variable's name and a text, then `give` the values; what each of them saw.

        Their times are from when the values are there, or `from_giving` on.
        """
        began = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            consumers = [
                group.create_task(consume(self.client, self.target, self.session, text, name=name, began=began))
                for name, text in readers
            ]
            await asyncio.sleep(_PARK_S)
            if from_giving:
                began.set()
            await give()
            began.set()
        return [consumer.result() for consumer in consumers]

    async def produce(self, tokens: int, *, streams: bool = False) -> None:
        """A call of the same session gives `plan` so many tokens."""
        text = f"Plan {self.random.getrandbits(64):x}."
        await produce(self.client, self.target, self.session, text, tokens, streams=streams)

    async def write_list(self, text: str, outputs: str) -> None:
        """A call of the same session writes a list of files."""
        numbered = f"Case {self.random.getrandbits(64):x}. {text}"
        await write_list(self.client, self.target, self.session, numbered, outputs)


async def pair(case: Case) -> list[Seen]:
    """A producer that decodes, and a consumer with long rules before the producer's value."""
    rules = case.text(RULES_WORDS)
    return await case.run([("plan", f"{rules} {{{{plan}}}} Go on.")], lambda: case.produce(PLAN_TOKENS))


async def stream(case: Case) -> list[Seen]:
    """A producer that streams a long value, and a consumer that begins with it."""
    return await case.run([("plan", "{{plan}} Go on.")], lambda: case.produce(STREAMED_TOKENS, streams=True))


async def together(case: Case) -> list[Seen]:
    """Calls that begin with one long value and end each with a question of its own."""
    value = case.text(LONG_WORDS)
    readers = [("plan", f"{{{{plan}}}} What of point {number}?") for number in range(SIBLINGS)]
    return await case.run(readers, lambda: put(case.client, case.target, case.session, value))


async def spread(case: Case) -> list[Seen]:
    """Calls that begin with one short value, which a worker made, and go on each with long text of its own."""
    readers = [("plan", f"{{{{plan}}}} {case.text(OWN_WORDS)}") for _ in range(SIBLINGS)]
    return await case.run(readers, lambda: case.produce(SHORT_TOKENS))


async def items(case: Case) -> list[Seen]:
    """A call that writes a list, and calls that read an item each: committed one by one, or all with the reply."""
    names = [f"files.{number}" for number in range(SIBLINGS)]
    whole = ", ".join(f'{name};json="$.files[{number}]"' for number, name in enumerate(names))
    outputs = 'files;json="$.files";each' if case.target.variant == "each" else whole
    asked = orjson.dumps({"files": FILES}).decode()
    readers = [(name, f"{{{{{name}}}}} {case.text(OWN_WORDS)}") for name in names]
    return await case.run(readers, lambda: case.write_list(f"Write again: {asked}", outputs), from_giving=True)


PROGRAMS = {"pair": pair, "stream": stream, "items": items, "together": together, "spread": spread}


async def measured(client: httpx.AsyncClient, target: Target, name: str, round_number: int, seed: int) -> Run:
    """Run one program."""
    requests, hits = await counters(client, target.worker_urls)
    began_s = time.monotonic()
    consumers = await PROGRAMS[name](Case(client, target, name, round_number, seed))
    program_s = time.monotonic() - began_s
    requests_after, hits_after = await counters(client, target.worker_urls)
    return Run(
        name,
        target.variant,
        round_number,
        program_s,
        tuple(consumers),
        requests_after - requests,
        hits_after - hits,
    )


async def counters(client: httpx.AsyncClient, urls: Sequence[str]) -> tuple[int, int]:
    """Requests finished and prefix cache hits in tokens, summed over the engines."""
    pages = [(await client.get(f"{url}/metrics")).content for url in urls]
    names = (b"vllm:request_success_total", b"vllm:prefix_cache_hits_total")
    requests, hits = (int(sum(value for page in pages for _, value in samples(page, name))) for name in names)
    return requests, hits
