"""The map-reduce of `map_reduce.py` with the `Workflow` helper, sent whole: no summary comes back to be sent again.

Against a running gateway:  python -m examples.map_reduce_workflow [BASE_URL]
"""

from __future__ import annotations

import asyncio
import os
import sys

from openai import AsyncOpenAI

from examples.map_reduce import NOTES, SYSTEM
from loomgate import AsyncCall, Workflow


async def run(base_url: str, model: str | None = None, nonce: str = "") -> tuple[str, str]:
    """Summarise every note, then all summaries. Returns the session and the last answer."""
    client = AsyncOpenAI(base_url=base_url, api_key=os.environ.get("OPENAI_API_KEY", "none"))
    async with client, Workflow(client, name="map-reduce", model=model or await _first_model(client)) as workflow:

        def ask(step: str, prompt: str, final: bool = False) -> AsyncCall:
            return workflow.call(
                step,
                messages=[{"role": "system", "content": nonce + SYSTEM}, {"role": "user", "content": prompt}],
                max_tokens=48,
                temperature=0,
                expected_tokens=40,
                final=final,
            )

        summaries = [ask(f"map.{day}", f"Summarise this note: {note}") for day, note in enumerate(NOTES)]
        text = "\n\n".join(map(str, summaries))  # placeholders: the gateway puts the summaries in
        reduce = ask("reduce", f"Summaries of four days:\n\n{text}\n\nHow was the week?", final=True)
        answer = await reduce.text()
    return workflow.session, answer


async def _first_model(client: AsyncOpenAI) -> str:
    return (await client.models.list()).data[0].id


if __name__ == "__main__":
    print(*asyncio.run(run(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8080/v1")), sep="\n")
