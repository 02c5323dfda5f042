"""Two replicas on one Redis, two tenants with the same names for all they have, and a recorder of what happens."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from engines.launch import Launcher
from gateway.auth import hash_key, new_key
from gateway.store.open import open_store
from gateway.store.variables import Variables
from tests.chaos.conftest import GatewayProcess, RedisProcess, StartGateway, until_answers
from tests.chaos.history import Accepted, Outcome, Read, Sent, violations
from tests.chaos.witness import Recorder, witness

TENANTS = ("acme", "evil")
KEYS = {tenant: new_key() for tenant in TENANTS}
CONFIG = "[store]\ndeadline_ms = 3000\n" + "".join(
    f'[[key]]\ntenant = "{tenant}"\nhash = "{hash_key(key)}"\n' for tenant, key in KEYS.items()
)
"""A store that is given time: all calls come at once, and it is to be gone, not slow."""
CHAT = "/v1/chat/completions"
LIMITS = httpx.Limits(max_connections=400)


@dataclass(frozen=True)
class Call:
    """A producer of `name`, or a consumer of it."""

    sent: Sent
    inputs: str
    outputs: str

    @property
    def hints(self) -> dict[str, str]:
        """Its headers, key of the tenant included."""
        headers = {"x-workflow-session": self.sent.session, "authorization": f"Bearer {KEYS[self.sent.tenant]}"}
        headers |= {"x-workflow-inputs": self.inputs} if self.inputs else {}
        return headers | ({"x-workflow-outputs": self.outputs} if self.outputs else {})

    @property
    def body(self) -> dict[str, object]:
        """What is posted."""
        return {"model": "simulated", "messages": [{"role": "user", "content": self.sent.text}]}


def pairs(count: int, sessions: int, *, interactive: bool = False) -> list[Call]:
    """Producers, then their consumers; tenants take turns, and each has what the other has, names alike.

    A consumer produces something, too, unless they are `interactive`: then it may begin early.
    """
    producers = [_call(f"p{n}", n, sessions, "says so", "", f"v{n // 2}") for n in range(count)]
    return producers + [
        _call(f"c{n}", n, sessions, f"got {{{{v{n // 2}}}}}!", f"v{n // 2}", "" if interactive else f"w{n // 2}")
        for n in range(count)
    ]


def _call(name: str, number: int, sessions: int, text: str, inputs: str, outputs: str) -> Call:
    tenant, session = TENANTS[number % 2], f"s{number // 2 % sessions}"
    return Call(Sent(name, tenant, session, f"<{name}> {text}", begins_early=not outputs), inputs, outputs)


@dataclass
class Recorded:
    """What the tests have at hand."""

    recorder: Recorder
    gateways: list[GatewayProcess]
    clients: list[httpx.AsyncClient]

    async def until_outcome(self, call: Call, call_id: str, client: httpx.AsyncClient) -> None:
        """Ask for the reply of a deferred call until there is one, and then once more."""
        for _ in range(2):
            reply = await self._reply(call, call_id, client)
            self.recorder.events.append(Outcome(call.sent.call, reply.status_code, reply.text))

    async def _reply(self, call: Call, call_id: str, client: httpx.AsyncClient) -> httpx.Response:
        while True:
            reply = await attempt(client, "GET", f"{CHAT}/{call_id}", call)
            if reply.status_code not in (202, 503):
                return reply
            await asyncio.sleep(0.1)

    async def read_all(self, calls: list[Call], client: httpx.AsyncClient) -> None:
        """At the end: what the store holds of each variable, and what its tenant is given."""
        for call in calls:
            if call.outputs:
                await self.recorder.look(call.sent.tenant, call.sent.session, [call.outputs])
                path = f"/v1/workflow/sessions/{call.sent.session}/variables/{call.outputs}"
                reply = await attempt(client, "GET", path, call)
                if reply.status_code == 200:
                    value = reply.json()["value"]
                    self.recorder.events.append(Read(call.sent.tenant, call.sent.session, call.outputs, value))

    def check(self) -> Counter[int]:
        """The history is sound; how many calls ended how."""
        assert violations(self.recorder.events) == []
        outcomes = {e.call: e.status for e in self.recorder.events if isinstance(e, Outcome)}
        assert outcomes.keys() == {e.call for e in self.recorder.events if isinstance(e, Accepted)}
        return Counter(outcomes.values())


async def attempt(client: httpx.AsyncClient, method: str, path: str, call: Call, **more: object) -> httpx.Response:
    """One request of a call's tenant; 503 where nobody answers."""
    headers = {"authorization": f"Bearer {KEYS[call.sent.tenant]}"}
    try:
        return await client.request(method, path, **{"headers": headers, **more})  # type: ignore[arg-type]
    except httpx.TransportError:
        return httpx.Response(503)


def ready(reply: httpx.Response, workers: int) -> bool:
    """Whether a gateway has its workers and its store."""
    found = reply.json()
    return bool(found["workers"]["in_rotation"] == workers and found["store"]["up"])


@asynccontextmanager
async def recorded_run(
    folder: Path, start_gateway: StartGateway, launcher: Launcher, redis: RedisProcess
) -> AsyncIterator[Recorded]:
    """Two gateways before witnessed workers."""
    (folder / "gateway.toml").write_text(CONFIG)
    async with AsyncExitStack() as stack:
        store = await open_store(redis.url, data_dir=folder, deadline_s=1.0)
        stack.push_async_callback(store.close)
        recorder = Recorder(Variables(store))
        workers = [await stack.enter_async_context(witness(spec.url, recorder.arrives)) for spec in launcher.specs]
        flags = [flag for url in workers for flag in ("--worker", url)]
        config = str(folder / "gateway.toml")
        arguments = ("--config", config, "--redis-url", redis.url, *flags)
        gateways = [await start_gateway(*arguments) for _ in range(2)]
        for gateway in gateways:
            await until_answers(f"{gateway.url}/ready", lambda reply: ready(reply, len(workers)))
        clients = [
            await stack.enter_async_context(
                httpx.AsyncClient(base_url=gateway.url, trust_env=False, timeout=30, limits=LIMITS)
            )
            for gateway in gateways
        ]
        yield Recorded(recorder, gateways, clients)
