"""vLLM's KV cache events: one message of its publisher to what was stored and removed. Pure.

A message is (topic, sequence number, payload); the payload is msgpack. Up to vLLM 0.11 an event is an array that
starts with its name, later a map with its name under `type`; both are read. `token_ids` are skipped, not built.
Where a worker publishes is told by its route `/kv_event_sources` (vLLM 0.32 has it).
Source: vllm/distributed/kv_events.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from engines.base import EngineError, KvSource

END_OF_REPLAY = -1
"""The sequence number after the last replayed message."""


class BadEvent(EngineError):
    """A message is not one of vLLM's KV events."""


class Stored(msgspec.Struct, frozen=True):
    """A run of full blocks was put into the prefix cache, in the order of the prompt."""

    rank: int
    """Of the data-parallel engine that holds them."""
    blocks: tuple[bytes, ...]
    parent: bytes | None
    """The block before the first one; None at the start of the prompt."""
    block_tokens: int
    session_id: str | None
    """As given with the request that stored them."""


class Removed(msgspec.Struct, frozen=True):
    """Blocks were evicted."""

    rank: int
    blocks: tuple[bytes, ...]


class Cleared(msgspec.Struct, frozen=True):
    """The whole prefix cache was reset."""

    rank: int


Event = Stored | Removed | Cleared

_Hash = bytes | int


class _Batch(msgspec.Struct, array_like=True):
    ts: float
    events: list[msgspec.Raw]
    data_parallel_rank: int | None = None


class _StoredMap(msgspec.Struct, tag="BlockStored", tag_field="type"):
    block_hashes: list[_Hash]
    parent_block_hash: _Hash | None
    token_ids: msgspec.Raw
    block_size: int
    medium: str | None = None
    session_id: str | None = None


class _RemovedMap(msgspec.Struct, tag="BlockRemoved", tag_field="type"):
    block_hashes: list[_Hash]
    medium: str | None = None


class _ClearedMap(msgspec.Struct, tag="AllBlocksCleared", tag_field="type"):
    pass


class _StoredArray(msgspec.Struct, tag="BlockStored", array_like=True):
    block_hashes: list[_Hash]
    parent_block_hash: _Hash | None
    token_ids: msgspec.Raw
    block_size: int
    lora_id: int | None = None
    medium: str | None = None


class _RemovedArray(msgspec.Struct, tag="BlockRemoved", array_like=True):
    block_hashes: list[_Hash]
    medium: str | None = None


class _ClearedArray(msgspec.Struct, tag="AllBlocksCleared", array_like=True):
    pass


_BATCH = msgspec.msgpack.Decoder(_Batch)
_MAP = msgspec.msgpack.Decoder(_StoredMap | _RemovedMap | _ClearedMap)
_ARRAY = msgspec.msgpack.Decoder(_StoredArray | _RemovedArray | _ClearedArray)
_ON_DEVICE = (None, "GPU")
"""The engine's own memory, whatever the device; offloaded copies are not counted."""


def sources(page: Mapping[str, object], host: str) -> tuple[KvSource, ...]:
    """What `GET /kv_event_sources` tells, by rank. `host` is the worker's, put where an address names none."""
    found: list[KvSource] = []
    for rank, config in sorted(page.items()):
        if not rank.isdecimal() or not isinstance(config, dict) or not config.get("enable_kv_cache_events"):
            continue
        events, replay, topic = (config.get(key) for key in ("endpoint", "replay_endpoint", "topic"))
        if config.get("publisher") == "zmq" and isinstance(events, str):
            asked = _reachable(replay, host) if isinstance(replay, str) else None
            found.append(KvSource(int(rank), _reachable(events, host), asked, str(topic or "")))
    return tuple(found)


def _reachable(address: str, host: str) -> str:
    """Where to connect to what was bound to any address of the worker's machine."""
    for anywhere in ("//*:", "//0.0.0.0:", "//[::]:"):
        address = address.replace(anywhere, f"//[{host}]:" if ":" in host else f"//{host}:")
    return address


def sequence_of(frame: bytes) -> int:
    """The sequence number of a message. Raises: BadEvent."""
    if len(frame) != 8:
        raise BadEvent(f"a sequence number of {len(frame)} bytes")
    return int.from_bytes(frame, "big", signed=True)


def decode(payload: bytes) -> list[Event]:
    """The events of one message, in order; those of media other than the engine's own are left out.

    Raises: BadEvent.
    """
    try:
        batch = _BATCH.decode(payload)
        found = (_event(raw, batch.data_parallel_rank or 0) for raw in batch.events)
        return [event for event in found if event is not None]
    except msgspec.MsgspecError as error:
        raise BadEvent(f"not a KV event: {error}") from None


def _event(raw: msgspec.Raw, rank: int) -> Event | None:
    packed = bytes(raw)
    event = (_MAP if _is_map(packed[0]) else _ARRAY).decode(packed)
    if isinstance(event, _ClearedMap | _ClearedArray):
        return Cleared(rank)
    if event.medium not in _ON_DEVICE:
        return None
    blocks = _hashes(event.block_hashes)
    if isinstance(event, _RemovedMap | _RemovedArray):
        return Removed(rank, blocks)
    parent = None if event.parent_block_hash is None else _hash(event.parent_block_hash)
    session_id = event.session_id if isinstance(event, _StoredMap) else None
    return Stored(rank, blocks, parent, event.block_size, session_id)


def _is_map(first: int) -> bool:
    """Whether a msgpack value is a map, by its first byte."""
    return 0x80 <= first <= 0x8F or first in (0xDE, 0xDF)


def _hashes(found: Sequence[_Hash]) -> tuple[bytes, ...]:
    return tuple(map(_hash, found))


def _hash(found: _Hash) -> bytes:
    """Eight bytes tell the blocks of one cache apart; vLLM's are 32 long, or an int."""
    return found[-8:] if isinstance(found, bytes) else (found & (1 << 64) - 1).to_bytes(8, "big")
