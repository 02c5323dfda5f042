"""`make demo`: the example programs on the running gateway, their graphs, and the same work under round robin.

1. Both programs run once; each session's graph and timeline are printed from the gateway's own JSON.
2. Several conversations at a time run through the gateway, and through a second one that deals calls out in turn.
   Both have the same workers, questions and lengths; every conversation begins with a nonce of its own, so that
   nobody finds in a cache what somebody else has computed. The order of the arms turns round by round.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from engines.install.running import holder
from examples import chat_agent, chat_agent_workflow, map_reduce
from examples.gateways import Gateway, Tokens, Unavailable, round_robin
from gateway.graph.timeline import render

ROOT = Path(__file__).resolve().parents[1]
DEFAULT_URL = "http://127.0.0.1:8080/v1"
HOW_TO_START = "start one with `make up` in another terminal, or name it with --base-url (and --admin-url)"


@dataclass(frozen=True, slots=True)
class Arm:
    """What one gateway made of one or more rounds."""

    name: str
    wall_s: float
    tokens: Tokens

    def __add__(self, other: Arm) -> Arm:
        ours, theirs = self.tokens, other.tokens
        tokens = Tokens(
            ours.prompt + theirs.prompt, ours.completion + theirs.completion, ours.cached + theirs.cached
        )
        return Arm(self.name, self.wall_s + other.wall_s, tokens)

    def __str__(self) -> str:
        share = self.tokens.cached / self.tokens.prompt if self.tokens.prompt else 0.0
        prompt, completion = self.tokens.prompt, self.tokens.completion
        return f"{self.name:<12} {self.wall_s:7.2f} s   {prompt} + {completion} tokens   cached share {share:.2f}"


def nonce() -> str:
    """The start of a conversation that no cache knows; always of one length."""
    return f"Reference {secrets.token_hex(8)}.\n"


async def show_programs(gateway: Gateway) -> None:
    """Run each program once, print its last answer, graph and timeline."""
    for program in (map_reduce.run, chat_agent.run):
        session, answer = await program(gateway.base_url, nonce=nonce())
        print(f"\n{answer.strip()}\n\n{render(await gateway.session(session))}\n", flush=True)


async def measure(name: str, gateway: Gateway, conversations: int) -> Arm:
    """Hold so many conversations at a time; the time until the last one has ended, and the tokens it took."""
    program = chat_agent_workflow.run
    before = await gateway.tokens()
    started_s = time.perf_counter()
    await asyncio.gather(*(program(gateway.base_url, nonce=nonce()) for _ in range(conversations)))
    wall_s = time.perf_counter() - started_s
    return Arm(name, wall_s, (await gateway.tokens()).since(before))


async def compare(gateway: Gateway, conversations: int, rounds: int) -> None:
    """Print both arms and the ratio of their times."""
    workers = await gateway.workers()
    print(
        f"{conversations} conversations at a time, {len(chat_agent.QUESTIONS)} turns each, {len(workers)} workers, "
        f"{rounds} rounds",
        flush=True,
    )
    async with round_robin(workers) as plain:
        arms = [("loomgate", gateway), ("round robin", plain)]
        sums: dict[str, Arm] = {}
        for index in range(rounds):
            for name, arm in arms if index % 2 == 0 else reversed(arms):
                done = await measure(name, arm, conversations)
                sums[name] = sums[name] + done if name in sums else done
                print(f"  round {index + 1}  {done}", flush=True)
    for name, _ in arms:
        print(f"  all      {sums[name]}")
    ratio = sums["loomgate"].wall_s / sums["round robin"].wall_s
    print(f"loomgate / round robin: {ratio:.2f} of the time")


async def demo(gateway: Gateway, conversations: int, rounds: int) -> None:
    """Everything. Raises: Unavailable."""
    await gateway.workers()
    await show_programs(gateway)
    await compare(gateway, conversations, rounds)


def main(argv: list[str] | None = None) -> int:
    """Read the flags and run; 1 with the remedy on stderr if no gateway answers."""
    args = _parser().parse_args(argv)
    address = urlsplit(args.base_url)
    url = f"{address.scheme}://{address.netloc}"
    admin_url = args.admin_url or f"{address.scheme}://{address.hostname}:{(address.port or 80) + 1}"
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = address.hostname or ""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        asyncio.run(asyncio.wait_for(demo(Gateway(url, admin_url), args.conversations, args.rounds), args.limit_s))
    except Unavailable as error:
        print(f"demo: {error}; {HOW_TO_START}", file=sys.stderr)
        return 1
    except TimeoutError:
        print(f"demo: not done within {args.limit_s:g} s (--limit-s)", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _started_here() -> str:
    """Where this checkout's `make up` listens, else where it would by default."""
    instance = holder(ROOT / ".loomgate")
    return DEFAULT_URL if instance is None else f"http://127.0.0.1:{instance.port}/v1"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m examples.demo", description=__doc__.partition("\n")[0])
    parser.add_argument("--base-url", default=os.environ.get("BASE_URL") or _started_here(), metavar="URL")
    parser.add_argument("--admin-url", default=os.environ.get("LOOMGATE_ADMIN_URL"), metavar="URL")
    parser.add_argument("--conversations", type=int, default=6, metavar="N", help="at a time")
    parser.add_argument("--rounds", type=int, default=2, metavar="N")
    parser.add_argument("--limit-s", type=float, default=600.0, metavar="N", help="give up after so many seconds")
    return parser


if __name__ == "__main__":
    sys.exit(main())
