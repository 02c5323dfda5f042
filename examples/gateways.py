"""The gateways the demo talks to: the running one, and a plain round robin over the same workers."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx

from gateway.graph.document import SessionDocument
from gateway.store.parent_death import die_with_parent

READY = re.compile(r"READY (?P<url>\S+)/v1 .*admin: (?P<admin_url>\S+)")
START_S, STOP_S, ASK_S = 30.0, 10.0, 10.0
ROUND_ROBIN = {
    "LOOMGATE_SCHEDULE__PLACE": "round_robin",
    "LOOMGATE_SCHEDULE__ORDER": "fcfs",
    "LOOMGATE_SCHEDULE__GROUP": "none",
    "LOOMGATE_HINTS__MODE": "off",
    "LOOMGATE_STORE__URL": "memory://",
    "LOOMGATE_SERVER__ADMIN_LISTEN": "127.0.0.1:0",
    "LOOMGATE_LOG__LEVEL": "warning",
}


class Unavailable(Exception):
    """A gateway does not answer, or not as needed; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens a gateway has counted since its start. `cached` is 0 where the workers do not report it."""

    prompt: int
    completion: int
    cached: int

    def since(self, before: Tokens) -> Tokens:
        """What has been counted from `before` on."""
        return Tokens(self.prompt - before.prompt, self.completion - before.completion, self.cached - before.cached)


@dataclass(frozen=True, slots=True)
class Gateway:
    """One gateway's two listeners, as base URLs without `/v1`."""

    url: str
    admin_url: str

    @property
    def base_url(self) -> str:
        """What an OpenAI client takes."""
        return f"{self.url}/v1"

    async def workers(self) -> list[str]:
        """The URLs of its workers in rotation. Raises: Unavailable."""
        listed = (await _get(f"{self.admin_url}/workers", "LOOMGATE_ADMIN_KEY")).json()["data"]
        return [worker["url"] for worker in listed if worker["state"] == "up"]

    async def tokens(self) -> Tokens:
        """What it has counted so far. Raises: Unavailable."""
        page = (await _get(f"{self.admin_url}/metrics", "LOOMGATE_ADMIN_KEY")).text
        kinds = dict(re.findall(r'^loomgate_tokens_total\{kind="(\w+)"\} (\S+)$', page, re.MULTILINE))
        return Tokens(*(int(float(kinds.get(kind, 0))) for kind in ("prompt", "completion", "cached")))

    async def session(self, session: str) -> SessionDocument:
        """One session with its graph, once its calls have ended. Raises: Unavailable."""
        give_up_s = time.monotonic() + ASK_S
        while True:
            reply = await _get(f"{self.base_url}/workflow/sessions/{session}", "OPENAI_API_KEY")
            document: SessionDocument = reply.json()
            if all(node["outcome"] for node in document["nodes"]) or time.monotonic() > give_up_s:
                return document
            await asyncio.sleep(0.05)


@asynccontextmanager
async def round_robin(workers: list[str]) -> AsyncIterator[Gateway]:
    """A gateway of its own process that deals calls out in turn; it ends with the block. Raises: Unavailable."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LOOMGATE_")}
    flags = [flag for url in workers for flag in ("--worker", url)]
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway.cli", "serve", "--host", "127.0.0.1", "--port", "0", *flags),
        env=kept | ROUND_ROBIN,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
        preexec_fn=die_with_parent(),
    )
    try:
        yield await _listening(child, len(workers))
    finally:
        await _stop(child)


async def _listening(child: asyncio.subprocess.Process, workers: int) -> Gateway:
    """Wait for the ready line and for the workers to be in rotation. Raises: Unavailable."""
    try:
        async with asyncio.timeout(START_S):
            gateway = await _ready(child)
            while len(await gateway.workers()) < workers:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
            return gateway
    except TimeoutError:
        raise Unavailable(f"the round-robin gateway was not ready within {START_S:g} s") from None


async def _ready(child: asyncio.subprocess.Process) -> Gateway:
    assert child.stdout is not None
    while line := (await child.stdout.readline()).decode():
        if ready := READY.match(line):
            return Gateway(**ready.groupdict())
    raise Unavailable("the round-robin gateway did not start")


async def _stop(child: asyncio.subprocess.Process) -> None:
    if child.returncode is not None:
        return
    child.terminate()
    try:
        await asyncio.wait_for(child.wait(), STOP_S)
    except TimeoutError:
        child.kill()
        await child.wait()


async def _get(url: str, key_variable: str) -> httpx.Response:
    key = os.environ.get(key_variable)
    headers = {"authorization": f"Bearer {key}"} if key else {}
    try:
        async with httpx.AsyncClient(timeout=ASK_S, trust_env=False) as client:
            reply = await client.get(url, headers=headers)
    except httpx.HTTPError as error:
        raise Unavailable(f"nothing answers on {url} ({type(error).__name__})") from None
    if reply.is_error:
        raise Unavailable(f"{url} answers {reply.status_code}: {reply.text[:200]}")
    return reply
