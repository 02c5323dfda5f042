"""The agent of `chat_agent.py` with the `Workflow` helper.

Against a running gateway:  python -m examples.chat_agent_workflow [BASE_URL]
"""

from __future__ import annotations

import asyncio
import os
import sys

from openai import AsyncOpenAI

from examples.chat_agent import HANDBOOK, QUESTIONS
from loomgate import Workflow


async def run(base_url: str, model: str | None = None, nonce: str = "") -> tuple[str, str]:
    """Hold one conversation. Returns the session and the last answer."""
    messages = [{"role": "system", "content": nonce + HANDBOOK}]
    answer = ""
    client = AsyncOpenAI(base_url=base_url, api_key=os.environ.get("OPENAI_API_KEY", "none"))
    async with client, Workflow(client, name="night-desk") as workflow:
        model = model or (await client.models.list()).data[0].id
        for turn, question in enumerate(QUESTIONS, start=1):
            messages.append({"role": "user", "content": question})
            stream = await workflow.call(
                f"turn.{turn}",
                model=model,
                messages=messages,
                max_tokens=40,
                temperature=0,
                stream=True,
                objective="latency",
                final=turn == len(QUESTIONS),
            )
            answer = "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])
            messages.append({"role": "assistant", "content": answer})
    return workflow.session, answer


if __name__ == "__main__":
    print(*asyncio.run(run(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8080/v1")), sep="\n")
