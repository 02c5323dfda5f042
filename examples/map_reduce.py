"""Map-reduce with the unmodified `openai` package: two headers say which calls belong together.

Against a running gateway:  python -m examples.map_reduce [BASE_URL]
"""

from __future__ import annotations

import asyncio
import os
import sys
import uuid

from openai import AsyncOpenAI

NOTES = (
    "The bakery sold 120 loaves on Monday and ran out of rye before noon.",
    "The bakery sold 80 loaves on Tuesday because the oven was repaired in the morning.",
    "The bakery sold 150 loaves on Wednesday, most of them to the school next door.",
    "The bakery sold 95 loaves on Thursday; two customers asked for gluten-free bread.",
)
SYSTEM = "You read the daily notes of a small bakery. Answer in one or two short sentences, in plain English."


async def run(base_url: str, model: str | None = None, nonce: str = "") -> tuple[str, str]:
    """Summarise every note, then all summaries. Returns the session and the last answer.

    `nonce` begins the prompt: with a new one no call finds its prefix in a cache.
    """
    session = f"map-reduce-{uuid.uuid4().hex[:12]}"
    async with AsyncOpenAI(
        base_url=base_url,
        api_key=os.environ.get("OPENAI_API_KEY", "none"),
        default_headers={"x-workflow-session": session, "x-workflow-name": "map-reduce"},
    ) as client:
        model = model or (await client.models.list()).data[0].id

        async def ask(step: str, prompt: str, final: bool = False) -> str:
            reply = await client.chat.completions.create(
                model=model,
                messages=[{"role": "system", "content": nonce + SYSTEM}, {"role": "user", "content": prompt}],
                max_tokens=48,
                temperature=0,
                extra_headers={"x-workflow-step": step} | ({"x-workflow-final": "true"} if final else {}),
            )
            return reply.choices[0].message.content or ""

        summaries = await asyncio.gather(
            *(ask(f"map.{day}", f"Summarise this note: {note}") for day, note in enumerate(NOTES))
        )
        text = "\n\n".join(summaries)
        answer = await ask("reduce", f"Summaries of four days:\n\n{text}\n\nHow was the week?", final=True)
    return session, answer


if __name__ == "__main__":
    print(*asyncio.run(run(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8080/v1")), sep="\n")
