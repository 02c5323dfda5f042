"""The gateway knows what its workers have cached, and says so before they do."""

from __future__ import annotations

import secrets

import pytest

pytestmark = pytest.mark.real

PREFIX = f"Loom {secrets.token_hex(4)}. " + " ".join(
    f"Rule {number}: the shuttle passes thread {number * 7 % 101} first." for number in range(40)
)
TOLERANCE = 0.15
"""Of the prompt's tokens."""


async def test_one_prefix_ten_times_over_two_workers(front) -> None:
    rows = []
    for index in range(10):
        messages = [
            {"role": "system", "content": PREFIX},
            {"role": "user", "content": f"What does rule {index} say?"},
        ]
        reply = await front.post({"messages": messages, "max_tokens": 4})
        usage = reply.json()["usage"]
        record = await front.record(reply)
        cached = record["cached"]
        rows.append(
            (record["worker"], record["why"], usage["prompt_tokens"], cached["predicted"], cached["actual"] or 0)
        )
    print("\ncall worker why      prompt predicted actual")
    for index, (worker, why, prompt, predicted, actual) in enumerate(rows):
        print(f"{index:>4} {worker:<6} {why:<8} {prompt:>6} {predicted:>9} {actual:>6}")
    assert rows[0][3:] == (0, 0)
    assert len({worker for worker, *_ in rows[1:]}) == 1
    for _, _, prompt, predicted, actual in rows[2:]:
        assert actual > 0.8 * prompt
        assert abs(predicted - actual) < TOLERANCE * prompt


async def test_a_conversation_stays_where_its_context_is(front) -> None:
    messages = [{"role": "user", "content": f"{PREFIX[:600]} Which rule comes first?"}]
    workers, shares = [], []
    for turn in range(4):
        reply = await front.post({"messages": messages, "max_tokens": 8, "seed": turn})
        body = reply.json()
        workers.append(reply.headers["x-workflow-worker"])
        shares.append(
            (body["usage"]["prompt_tokens_details"] or {}).get("cached_tokens", 0) / body["usage"]["prompt_tokens"]
        )
        messages += [body["choices"][0]["message"], {"role": "user", "content": f"And after turn {turn}?"}]
        messages[-2] = {"role": "assistant", "content": messages[-2]["content"]}
    assert len(set(workers)) == 1
    assert min(shares[1:]) > 0.8
