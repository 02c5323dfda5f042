"""A chat agent of several turns with the unmodified `openai` package, streamed.

Every turn repeats the handbook and all turns before it, so it pays to meet the worker that has them in its cache.

Against a running gateway:  python -m examples.chat_agent [BASE_URL]
"""

from __future__ import annotations

import asyncio
import os
import sys
import uuid
from pathlib import Path

from openai import AsyncOpenAI
from openai.types.chat import ChatCompletionMessageParam

HANDBOOK = Path(__file__).with_name("handbook.txt").read_text(encoding="utf-8")
QUESTIONS = (
    "I leave at five in the morning. Can I still get breakfast?",
    "And how do I get to the railway station then?",
    "Is there anything open in the house tonight where I can run?",
    "Thank you. Please remind me what I have to arrange with you today.",
)


async def run(base_url: str, model: str | None = None, nonce: str = "") -> tuple[str, str]:
    """Hold one conversation. Returns the session and the last answer.

    `nonce` begins the prompt: with a new one no conversation finds its prefix in a cache.
    """
    session = f"night-desk-{uuid.uuid4().hex[:12]}"
    messages: list[ChatCompletionMessageParam] = [{"role": "system", "content": nonce + HANDBOOK}]
    answer = ""
    async with AsyncOpenAI(
        base_url=base_url,
        api_key=os.environ.get("OPENAI_API_KEY", "none"),
        default_headers={"x-workflow-session": session, "x-workflow-name": "night-desk"},
    ) as client:
        model = model or (await client.models.list()).data[0].id
        for turn, question in enumerate(QUESTIONS, start=1):
            final = {"x-workflow-final": "true"} if turn == len(QUESTIONS) else {}
            messages.append({"role": "user", "content": question})
            stream = await client.chat.completions.create(
                model=model,
                messages=messages,
                max_tokens=40,
                temperature=0,
                stream=True,
                extra_headers={"x-workflow-step": f"turn.{turn}"} | final,
            )
            answer = "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])
            messages.append({"role": "assistant", "content": answer})
    return session, answer


if __name__ == "__main__":
    print(*asyncio.run(run(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8080/v1")), sep="\n")
