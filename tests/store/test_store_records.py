import msgspec
import pytest

from gateway.nouns import Edge, Record, Usage
from gateway.store.records import FIELDS, UnknownSchema, read_record, stored_call


def test_every_field_is_stored_or_in_the_key() -> None:
    names = set(Record.__struct_fields__)
    assert set(FIELDS) | {"tenant", "session"} == names
    assert len(FIELDS) == len(set(FIELDS))


def test_a_record_reads_as_written_and_is_compact(make_record) -> None:
    record = make_record(usage=Usage(10, 5, None), edges=(Edge("p", "hint"),), outputs=("plan",))
    payload = stored_call(record).payload
    assert read_record("acme", "s1", payload) == record
    assert len(payload) < 250


def test_an_older_and_a_newer_gateways_record_read(make_record) -> None:
    record = make_record()
    payload = stored_call(record).payload
    values = msgspec.msgpack.decode(payload[2:])
    older = payload[:2] + msgspec.msgpack.encode(values[:-1])
    newer = payload[:2] + msgspec.msgpack.encode([*values, "more"])
    assert read_record("acme", "s1", older) == record
    assert read_record("acme", "s1", newer) == record


def test_another_schema_is_refused(make_record) -> None:
    payload = stored_call(make_record()).payload
    with pytest.raises(UnknownSchema):
        read_record("acme", "s1", b"9" + payload[1:])


def test_others_may_wait_for_the_step_and_the_variables(make_record) -> None:
    call = stored_call(make_record(step="map", outputs=("a", "b"), ended=False))
    assert (call.names, call.ended) == (("map", "a", "b"), False)
    assert stored_call(make_record(step=None)).names == ()
