from __future__ import annotations

import httpx
import pytest

pytestmark = pytest.mark.real

MODEL = "smollm2"
LONG = "The loom holds many threads, and every thread knows its neighbours. " * 30


@pytest.fixture
def client(real_urls: tuple[str, ...]) -> httpx.Client:
    return httpx.Client(base_url=real_urls[0], trust_env=False, timeout=60)


def ask(client: httpx.Client, text: str, **fields: object) -> dict[str, object]:
    body = {"model": MODEL, "messages": [{"role": "user", "content": text}], "max_tokens": 16, "temperature": 0}
    reply = client.post("/v1/chat/completions", json=body | fields)
    assert reply.status_code == 200, reply.text
    found: dict[str, object] = reply.json()
    return found


def test_it_knows_the_capital_of_france(client: httpx.Client) -> None:
    with client:
        reply = ask(client, "What is the capital of France?")
    assert "Paris" in str(reply["choices"])


def test_a_repeated_prompt_reports_cached_tokens(client: httpx.Client) -> None:
    with client:
        first = ask(client, LONG, cache_salt="repeat")
        again = ask(client, LONG, cache_salt="repeat")
        stranger = ask(client, LONG, cache_salt="stranger")

    def cached(reply: dict[str, object]) -> int:
        usage = reply["usage"]
        assert isinstance(usage, dict)
        return int((usage["prompt_tokens_details"] or {}).get("cached_tokens") or 0)

    assert (cached(first), cached(stranger)) == (0, 0)
    assert cached(again) >= 256


def test_it_takes_priority_and_a_session_id(client: httpx.Client) -> None:
    with client:
        assert ask(client, "Say hello.", priority=5, session_id="s-1")["object"] == "chat.completion"


@pytest.mark.parametrize("worker", [0, 1])
def test_its_load_can_be_read(real_urls: tuple[str, ...], worker: int) -> None:
    with httpx.Client(base_url=real_urls[worker], trust_env=False) as client:
        text = client.get("/metrics").text
    for name in ("num_requests_running", "num_requests_waiting", "kv_cache_usage_perc", "prefix_cache_hits_total"):
        assert f"vllm:{name}" in text
