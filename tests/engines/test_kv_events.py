"""Both forms in which vLLM has published its KV events, and what is not one."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from engines.base import KvSource
from engines.kv_events import BadEvent, Cleared, Removed, Stored, decode, sequence_of, sources

A, B, C = (bytes([letter]) * 32 for letter in b"abc")
SHORT_A, SHORT_B, SHORT_C = A[:8], B[:8], C[:8]


def packed(*events: object, rank: int | None = 0) -> bytes:
    return msgspec.msgpack.encode([1.5, list(events), rank])


def stored_map(**changes: Any) -> dict[str, Any]:
    event = {
        "type": "BlockStored",
        "block_hashes": [A, B],
        "parent_block_hash": None,
        "token_ids": list(range(64)),
        "block_size": 32,
        "lora_id": None,
        "medium": "GPU",
        "lora_name": None,
        "extra_keys": [("salt",), None],
        "session_id": "call-1",
    }
    return event | changes


def test_maps_are_read_and_token_ids_are_not():
    payload = packed(
        stored_map(),
        {"type": "BlockRemoved", "block_hashes": [A], "medium": "GPU", "group_idx": 0},
        {"type": "AllBlocksCleared"},
        rank=3,
    )
    assert decode(payload) == [
        Stored(3, (SHORT_A, SHORT_B), None, 32, "call-1"),
        Removed(3, (SHORT_A,)),
        Cleared(3),
    ]


def test_arrays_are_read_too():
    payload = packed(
        ["BlockStored", [A], C, [1, 2, 3], 16, None, "GPU", None],
        ["BlockStored", [B], A, [1, 2, 3], 16, None],
        ["BlockRemoved", [A, B], "GPU"],
        ["AllBlocksCleared"],
        rank=None,
    )
    assert decode(payload) == [
        Stored(0, (SHORT_A,), SHORT_C, 16, None),
        Stored(0, (SHORT_B,), SHORT_A, 16, None),
        Removed(0, (SHORT_A, SHORT_B)),
        Cleared(0),
    ]


def test_a_hash_is_the_same_block_whether_published_as_bytes_or_as_an_int():
    as_int = int.from_bytes(A, "big") & (1 << 64) - 1
    assert decode(packed(stored_map(block_hashes=[as_int]))) == decode(packed(stored_map(block_hashes=[A])))


def test_copies_outside_the_engine_do_not_count():
    assert decode(packed(stored_map(medium="STORAGE"))) == []
    assert decode(packed(["BlockRemoved", [A], "CPU"])) == []


@pytest.mark.parametrize(
    "payload", [b"", b"\xc1", b"\x01", packed(7), packed({"type": "Other"}), packed(stored_map())[:40]]
)
def test_what_is_not_an_event_is_said_to_be_none(payload):
    with pytest.raises(BadEvent):
        decode(payload)


def test_sequence_numbers_are_eight_bytes():
    assert sequence_of((7).to_bytes(8, "big")) == 7
    assert sequence_of(b"\xff" * 8) == -1
    with pytest.raises(BadEvent):
        sequence_of(b"7")


def test_sources_are_those_that_publish_at_the_worker_s_own_address():
    page = {
        "0": {
            "enable_kv_cache_events": True,
            "publisher": "zmq",
            "endpoint": "tcp://*:5557",
            "replay_endpoint": "tcp://0.0.0.0:5558",
            "topic": "kv",
        },
        "1": {
            "enable_kv_cache_events": True,
            "publisher": "zmq",
            "endpoint": "ipc:///run/kv",
            "replay_endpoint": None,
        },
        "2": {"enable_kv_cache_events": False, "publisher": "null", "endpoint": "tcp://*:1"},
        "x": "odd",
    }
    assert sources(page, "gpu7") == (
        KvSource(0, "tcp://gpu7:5557", "tcp://gpu7:5558", "kv"),
        KvSource(1, "ipc:///run/kv", None, ""),
    )
    assert sources({"0": page["0"]}, "::1")[0].events == "tcp://[::1]:5557"
