"""Values as JSON, those that were asked for last: however many ask for one, it is written once."""

from __future__ import annotations

import orjson

from gateway.dataflow.errors import shown
from gateway.dataflow.parking import Version, version_of
from gateway.store.variable import StoredValue, Variable

ROOM_BYTES = 8 << 20
"""Of documents; the values in them take about as much again."""


class VariableDocuments:
    """The JSON of variables. A value is held with its document, so that it is not read again either."""

    def __init__(self, room_bytes: int = ROOM_BYTES) -> None:
        """A document longer than `room_bytes` is not kept."""
        self._room_bytes = room_bytes
        self._bytes = 0
        self._kept: dict[Version, tuple[bytes, StoredValue]] = {}
        """The latest last."""

    def of(self, tenant: str, session: str, variable: Variable) -> bytes:
        """A variable as it stands: the same bytes for all who ask for the same value."""
        if variable.value is None:
            return orjson.dumps(shown(session, variable))
        version = version_of(tenant, session, variable)
        kept = self._kept.pop(version, None)
        if kept is None:
            kept = orjson.dumps(shown(session, variable)), variable.value
            if len(kept[0]) > self._room_bytes:
                return kept[0]
            self._bytes += len(kept[0])
        self._kept[version] = kept
        while self._bytes > self._room_bytes:
            document, _ = self._kept.pop(next(iter(self._kept)))
            self._bytes -= len(document)
        return kept[0]
