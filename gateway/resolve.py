"""The end of a call: what it taught is learned, what it was is recorded. Runs once per call, never waits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from msgspec.structs import replace

from gateway.background import Background
from gateway.call import Call
from gateway.dataflow.flow import Dataflow
from gateway.dataflow.parking import Parking
from gateway.dataflow.programs import Programs
from gateway.estimate.lengths import LengthEstimator, template_of
from gateway.estimate.tokens import TokenEstimator
from gateway.foresight import Foresight
from gateway.graph.lineage import Lineage
from gateway.intake import program_key
from gateway.nouns import Record
from gateway.placements import Placements, PlacementStore
from gateway.schedule.events import Event, SessionEnded
from gateway.states import CallState, Outcome

_DONE = Outcome.DONE
RECENT_RECORDS = 4096
"""Records kept in memory, or half as many: a later call may show that a lone one began a session, and their owner
may ask."""


class Counts(Protocol):
    """The metrics of a call that ended."""

    def ended(self, call: Call) -> None:
        """Count one call."""


class RecordWriter(Protocol):
    """The write-behind side of the store."""

    def write(self, record: Record) -> None:
        """Remember a call's newest state."""

    def watch(self, call: Call) -> None:
        """Remember what the call is in a moment, unless it ends before."""

    async def flush(self) -> None:
        """Write what is remembered now."""


class Resolver:
    """Told when attempts start and when calls end."""

    def __init__(
        self,
        *,
        lineage: Lineage,
        tokens: TokenEstimator,
        lengths: LengthEstimator,
        recorder: RecordWriter,
        store: PlacementStore,
        placements: Placements,
        background: Background,
        feed: Callable[[Event], None],
        counts: Counts,
        dataflow: Dataflow,
        parking: Parking,
        programs: Programs,
        foresight: Foresight,
    ) -> None:
        self._lineage = lineage
        self._tokens = tokens
        self._lengths = lengths
        self._recorder = recorder
        self._store = store
        self._placements = placements
        self._background = background
        self._feed = feed
        self._counts = counts
        self._dataflow = dataflow
        self._parking = parking
        self._programs = programs
        self._foresight = foresight
        self._recent: dict[str, Record] = {}
        """The younger half of the records; `_older` holds those before them."""
        self._older: dict[str, Record] = {}

    def started(self, call: Call) -> None:
        """An attempt of a session's call was dispatched."""
        self._recorder.watch(call)
        self._placements.claim(call)
        if call.plan is not None:
            self._programs.started(call)
        for call_id in call.adopted:
            record = self.recent(call_id)
            if record is not None:
                self._keep(replace(record, session=call.session))

    def orphaned(self, call: Call) -> None:
        """A call runs on without its client."""
        if call.session is not None:
            self._recorder.write(replace(call.record(), state=CallState.ORPHANED))

    def computed(self, call: Call) -> None:
        """The reply of a call is there: who reads its values may become ready before it has its outcome."""
        self._programs.ended(call)
        if call.session is not None:
            self._foresight.ended(call)

    def ended(self, call: Call) -> None:
        """A call has its outcome."""
        self._counts.ended(call)
        if call.outcome is _DONE:
            self._learn(call)
        self._keep(call.record())
        if call.session is None:
            return
        self._dataflow.ended(call)
        if not call.computed:
            if call.plan is not None:
                self._programs.ended(call)
            self._foresight.ended(call)
        self._parking.changed(call.tenant, call.session)
        if call.hint.final:
            self.end_session(call.tenant, call.session)
            self._background.run("end session", self._end_stored(call.tenant, call.session))

    async def _end_stored(self, tenant: str, session: str) -> None:
        await self._recorder.flush()
        await self._store.end(tenant, session)

    def end_session(self, tenant: str, session: str) -> None:
        """Forget what this replica knows of a session that is over."""
        program = program_key(tenant, session)
        self._feed(SessionEnded(program))
        self._foresight.finished(program)
        self._lineage.forget_session(tenant, session)

    def recent(self, call_id: str) -> Record | None:
        """A call that ended on this replica a short while ago."""
        return self._recent.get(call_id) or self._older.get(call_id)

    def ran_on(self, call_id: str) -> str | None:
        """The worker of such a call."""
        record = self.recent(call_id)
        return None if record is None else record.worker

    def _learn(self, call: Call) -> None:
        usage, ready, hint = call.usage, call.ready, call.hint
        if usage is not None:
            self._tokens.observe(ready.model, call.size, usage.prompt_tokens)
            if call.request.route.generates:
                self._lengths.observe(
                    ready.model,
                    hint.name,
                    hint.step,
                    usage.completion_tokens,
                    n=call.request.n,
                    template=template_of(ready.chain),
                    expected=ready.output_tokens,
                )
        output = call.output
        if output is not None:
            self._lineage.learn(
                call.tenant,
                call.call_id,
                session=call.session,
                step=hint.step,
                chain=ready.chain,
                output=output.text,
                tool_call_ids=output.tool_call_ids,
                now_s=call.done_s if call.done_s is not None else call.arrived_s,
            )

    def _keep(self, record: Record) -> None:
        recent = self._recent
        recent[record.call_id] = record
        if len(recent) >= RECENT_RECORDS // 2:
            self._older, self._recent = recent, {}
        if record.session is not None:
            self._recorder.write(record)
