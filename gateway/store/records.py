"""How a record is stored: one byte of schema, one of state, then its fields in order as msgpack. Pure.

New fields go to the end of `FIELDS`, with a default in `Record`: a shorter record of an older gateway still reads,
and what a newer one added is passed over. Tenant and session are in the key.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter

import msgspec

from gateway.nouns import Record
from gateway.states import CallState, Outcome
from gateway.store.keys import SCHEMA
from gateway.store.scripts import StoredCall

FIELDS = (
    "call_id",
    "name",
    "step",
    "parent",
    "route",
    "model",
    "state",
    "outcome",
    "status",
    "worker",
    "why",
    "attempts",
    "arrived_at",
    "queued_s",
    "first_byte_s",
    "done_s",
    "prompt_tokens_estimate",
    "usage",
    "cached_tokens_predicted",
    "objective",
    "depth",
    "outputs",
    "edges",
    "version",
    "labelled",
    "group",
    "inputs",
    "after",
    "accepted",
    "inputs_s",
)
_ENDED, _OPEN = SCHEMA.encode() + b"e", SCHEMA.encode() + b"o"

_values = attrgetter(*FIELDS)
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[object])


class UnknownSchema(ValueError):
    """A stored record of another schema version."""


def stored_call(record: Record) -> StoredCall:
    """The record as the scripts take it."""
    ended = record.state is CallState.TERMINAL
    payload = (_ENDED if ended else _OPEN) + _encoder.encode(_values(record))
    names = record.outputs if record.step is None else (record.step, *record.outputs)
    return StoredCall(record.call_id, record.arrived_at, ended, names, payload, ended and _never_was(record))


def _never_was(record: Record) -> bool:
    """Whether a call was turned away before anybody could count on it: neither declared nor sent to a worker."""
    return record.outcome is Outcome.REFUSED and record.worker is None and not record.accepted


def read_record(tenant: str, session: str, payload: bytes) -> Record:
    """The record of one stored call. Raises: UnknownSchema."""
    if payload[:1] != SCHEMA.encode():
        raise UnknownSchema(f"a record has schema {payload[:1]!r}, this gateway knows {SCHEMA}")
    values: Sequence[object] = _decoder.decode(payload[2:])
    fields = {"tenant": tenant, "session": session, **dict(zip(FIELDS, values, strict=False))}
    return msgspec.convert(fields, Record)


def ended_at(record: Record) -> float:
    """When the record last changed, in Unix seconds."""
    return record.arrived_at + (record.done_s or 0.0)
