"""The SDK's own retries, where a reply is lost on its way."""

from __future__ import annotations

import httpx
import openai

from loomgate import Workflow
from tests.fundamentals.conftest import bare
from tests.gateway.conftest import Rig


class Lossy(httpx.AsyncBaseTransport):
    """Loses the first reply to every kind of call that produces a variable, once the gateway has given it."""

    def __init__(self) -> None:
        self._inner = httpx.AsyncHTTPTransport()
        self.lost = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        reply = await self._inner.handle_async_request(request)
        if request.method == "POST" and not self.lost:
            self.lost += 1
            await reply.aclose()
            raise httpx.ReadError("lost", request=request)
        return reply

    async def aclose(self) -> None:
        await self._inner.aclose()


async def test_a_producer_whose_reply_was_lost_is_not_run_twice(rig: Rig) -> None:
    lossy = Lossy()
    http = httpx.AsyncClient(transport=lossy)
    async with (
        openai.AsyncOpenAI(base_url=f"{rig.url}/v1", api_key="none", http_client=http) as client,  # type: ignore[arg-type]
        Workflow(client, model="simulated") as flow,
    ):
        plan = flow.call("plan", messages=[{"role": "user", "content": "a"}])
        text = await flow.call("use", messages=[{"role": "user", "content": f"{plan} b"}]).text()
        assert bare(await plan.text()) == "a"
    assert bare(text) == "a b"
    assert lossy.lost == 1
