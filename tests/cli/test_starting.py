from __future__ import annotations

import json
import shlex

import pytest

from engines.vllm import VllmWorker
from gateway.cli.starting import attached_lines, curl, store_words
from gateway.fleet import Worker, WorkerState
from gateway.store.open import StoreStatus


def test_the_printed_request_is_what_a_shell_takes() -> None:
    words = shlex.split(curl("http://127.0.0.1:8080", "smollm2", keyed=False))

    assert words[:5] == ["curl", "-s", "--noproxy", "*", "http://127.0.0.1:8080/v1/chat/completions"]
    body = json.loads(words[words.index("-d") + 1])
    assert body["model"] == "smollm2"
    assert body["messages"][0]["role"] == "user"


def test_with_keys_it_shows_where_the_key_goes() -> None:
    line = curl("http://127.0.0.1:8080", "smollm2", keyed=True)
    assert line.endswith('-H "authorization: Bearer $LOOMGATE_KEY"')


def test_without_a_known_model_it_asks_for_the_models() -> None:
    assert curl("http://h:1", None, keyed=False) == "curl -s --noproxy '*' http://h:1/v1/models"


async def test_attached_workers_that_do_not_answer_are_named_with_the_reason() -> None:
    up = Worker("w0", "http://a:1", VllmWorker("http://a:1"), state=WorkerState.UP)
    down = Worker("w1", "http://b:2", VllmWorker("http://b:2"), last_error="Unreachable: connection refused")

    assert attached_lines([up]).endswith(" ok")
    first, second = attached_lines([up, down]).splitlines()
    assert first.endswith("1 of 2 not ready: taken in when they are")
    assert second.strip() == "w1 http://b:2: Unreachable: connection refused"


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (StoreStatus("private", True, True, None), "redis (private, durable)"),
        (StoreStatus("redis", True, False, "appendonly is no"), "redis (yours, not durable)"),
        (StoreStatus("memory", True, False, "volatile"), "memory (volatile)"),
        (
            StoreStatus("private", False, False, "redis.sock is reading its data"),
            "redis (private), not up yet: redis.sock is reading its data; "
            "until then calls with inputs or outputs get a 503",
        ),
    ],
)
def test_the_store_is_called_durable_where_it_is_and_down_where_it_is(status: StoreStatus, words: str) -> None:
    assert store_words(status) == words
