"""Wiring: builds every part from the settings, runs them together, and takes them down in order.

`async with Gateway(settings) as gateway: await gateway.serve()`. Nobody imports this but commands and tests.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import signal
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from types import TracebackType

from engines.compiled import load
from engines.vllm import VllmWorker
from gateway import logs
from gateway.ahead.fills import Ahead
from gateway.asgi import Front
from gateway.auth import Keys
from gateway.background import Background, always
from gateway.call import Call
from gateway.configured import attempt_limits, open_any_store, scheduler_settings
from gateway.control.admin import admin_app
from gateway.control.deferred import deferred_routes
from gateway.control.ports import AdminView, ControlView
from gateway.control.reading import read_state
from gateway.control.routes import control_app
from gateway.control.variable_access import VariableAccess
from gateway.control.variable_stream import VariableStream
from gateway.control.variables import variable_routes
from gateway.dataflow.flow import Dataflow
from gateway.dataflow.kept_replies import KeptReplies
from gateway.dataflow.live import Live
from gateway.dataflow.maps import Maps
from gateway.dataflow.owners import Owners
from gateway.dataflow.parking import Parking
from gateway.dataflow.programs import Programs
from gateway.dataflow.refusals import Refusals
from gateway.detached.attempts import Attempts
from gateway.detached.cancellations import Cancellations
from gateway.detached.claims import Claims
from gateway.detached.deferred import DeferredCalls
from gateway.detached.orphans import Orphans
from gateway.detached.retries import Retries
from gateway.dispatch import Dispatcher
from gateway.estimate.estimators import Estimators
from gateway.fleet import Fleet, Worker
from gateway.foresight import Foresight
from gateway.gate import Gate
from gateway.graph.lineage import Lineage
from gateway.http.bodies import Bodies
from gateway.http.server import Listening, serve
from gateway.intake import MODES, Intake
from gateway.kv_watch import KvWatch
from gateway.loop import Loop
from gateway.metrics import Metrics
from gateway.placements import Placements
from gateway.probing import Probing
from gateway.resolve import Resolver
from gateway.salt import Salts
from gateway.schedule.core import Scheduler
from gateway.schedule.snapshot import Snapshot
from gateway.settings import Settings
from gateway.shares import Shares
from gateway.sharing import Sharing
from gateway.store.awaited import Awaited
from gateway.store.cancellations import CancellationList
from gateway.store.deferred import Deferred as DeferredStore
from gateway.store.kept_replies import ReplyRows
from gateway.store.keys import Bounds
from gateway.store.learned import Learned
from gateway.store.leases import Leases
from gateway.store.liveness import Liveness
from gateway.store.recorder import Recorder
from gateway.store.retries import RetryKeys
from gateway.store.sessions import Sessions
from gateway.store.variable_scripts import Limits as VariableLimits
from gateway.store.variables import Variables
from gateway.store.wakeups import Wakeups
from gateway.wire.request import BodyLimits

SWEEP_EVERY_S = 0.5
log = logging.getLogger(__name__)
Reload = Callable[[Settings], Settings]


class Gateway:
    """One gateway process: a store, a fleet, a scheduler, two listeners.

    Entering opens the store and starts watching the workers; leaving drains and closes everything.
    """

    def __init__(self, settings: Settings, *, reload: Reload | None = None) -> None:
        """`reload(current)` reads the settings anew on SIGHUP; it raises SettingsError to keep the current ones."""
        self.settings = settings
        self.stop = asyncio.Event()
        self.listening: Listening | None = None
        self._reload = reload
        self._stack = AsyncExitStack()
        self._replica = secrets.token_hex(6)
        self._bounds = Bounds(session_ttl_s=settings.store.session_ttl_s)
        self._clock = asyncio.get_running_loop().time
        self.loop = Loop(Scheduler(scheduler_settings(settings)), self._clock)
        self.estimators = Estimators(self.loop.scheduler.service)
        self.caches = KvWatch(self.loop.feed)
        self.fleet = Fleet(self.loop.feed, self._evict, self.caches, others=self.loop.scheduler.external_calls)
        self.metrics = Metrics(lambda: read_state(self))
        self.background = Background()
        self.bodies = Bodies()
        self.lineage = Lineage()
        self._salts = Salts(settings.keys, settings.server.trust_groups, settings.request.cache_salt == "tenant")

    async def __aenter__(self) -> Gateway:
        """Open the store, build the request path, start the tasks. Raises: ServerError, ValueError."""
        try:
            await self._enter()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Close everything, last opened first."""
        await self._stack.aclose()

    async def _enter(self) -> None:
        bounds = self._bounds
        self.store = await open_any_store(self.settings)
        self._stack.push_async_callback(self.store.close)
        self.recorder = Recorder(self.store, bounds)
        self.recorder.start()
        self._stack.push_async_callback(self.recorder.close)
        self.sessions = Sessions(self.store, bounds)
        self.variables = Variables(
            self.store, bounds, limits=VariableLimits(value_bytes=self.settings.limits.value_bytes)
        )
        self.wakeups = Wakeups(self.store.dial, self._variables_changed)
        self.wakeups.start()
        self._stack.push_async_callback(self.wakeups.close)
        self._stack.push_async_callback(self.background.close)
        self._build_path()
        await self.owners.begin()
        self._stack.push_async_callback(self.owners.close)
        self._stack.push_async_callback(self.parking.close)
        self._stack.push_async_callback(self.orphans.close)
        self._stack.push_async_callback(self.dataflow.close)
        self._stack.push_async_callback(self.ahead.close)
        self._stack.push_async_callback(self.caches.close)
        self._stack.push_async_callback(self.fleet.close)
        self._stack.push_async_callback(self.deferred.close)
        shares = Shares(Leases(self.store, self._replica), self._snapshot, self.loop.feed)
        self._stack.push_async_callback(self.probing.close)
        sharing = Sharing(Learned(self.store, self._replica), self.estimators)
        keepers = (
            sharing.keep,
            self.probing.keep,
            self.owners.keep,
            shares.keep,
            self.deferred.keep,
            self.retries.keep,
            self.cancellations.keep,
        )
        for work in (self.loop.tick, *keepers, self._sweep):
            self._own(asyncio.create_task(always(work), name=work.__name__))
        for worker in self.settings.workers:
            self.add_worker(worker.name, worker.url, worker.api_key_env)

    def _build_path(self) -> None:
        """Assemble the request path: intake, the values between calls, dispatch, the front before them."""
        known = self.estimators
        self.foresight = Foresight(known.programs, self._clock)
        self.intake = Intake(
            replica=self._replica,
            clock=self._clock,
            lineage=self.lineage,
            tokens=known.tokens,
            lengths=known.lengths,
            salt=self._salts,
            only_model=self.fleet.only_model,
        )
        self._build_dataflow()
        self._build_front(self._build_dispatch())
        self._apply(self.settings)

    def _build_dataflow(self) -> None:
        """Assemble what values pass through: who waits for them, who makes them, what is computed ahead."""
        awaited = Awaited(self.store)
        self.owners = Owners(Liveness(self.store, self._replica), self.variables, self.sessions)
        self.parking = Parking(self.variables, self.wakeups, self._finished_steps, awaited.mark, self.owners)
        self.orphans = Orphans(self.parking, awaited, self._orphaned)
        self.live = Live()
        self.ahead = Ahead(self.loop, self.fleet, self.intake.head, self.metrics, salt=self._salts, live=self.live)
        self.dataflow = Dataflow(
            self.variables,
            self.parking,
            self.intake.reestimate,
            self.live,
            value_bytes=self.settings.limits.value_bytes,
            left=self.orphans.left,
            bodies=self.bodies,
            ahead=self.ahead,
            owners=self.owners,
        )
        self.kept_replies = KeptReplies(ReplyRows(self.store, self._bounds), self.dataflow)
        self.maps = Maps(self.parking, self.dataflow, self.intake.item, self.kept_replies)

    def _build_dispatch(self) -> Gate:
        """Assemble what places calls, runs them and learns from their ends; what they pass before it."""
        settings, known = self.settings, self.estimators
        self.probing = Probing(self.loop, self.fleet, settings.schedule.probe_s)
        placements = Placements(
            self.sessions,
            self.loop.feed,
            self.loop.scheduler.placement,
            self.background,
            ran_on=self._ran_on,
        )
        self.programs = Programs(self.loop.feed)
        self.resolver = Resolver(
            lineage=self.lineage,
            tokens=known.tokens,
            lengths=known.lengths,
            recorder=self.recorder,
            store=self.sessions,
            placements=placements,
            background=self.background,
            feed=self.loop.feed,
            counts=self.metrics,
            dataflow=self.dataflow,
            parking=self.parking,
            programs=self.programs,
            foresight=self.foresight,
        )
        gate = Gate(
            self.sessions,
            placements,
            self.dataflow,
            self.programs,
            foresee=self.foresight.ready,
            clock=self._clock,
        )
        self.dispatcher = Dispatcher(
            self.loop,
            self.fleet,
            gate,
            attempt_limits(settings),
            salt=self._salts,
            dataflow=self.dataflow,
            maps=self.maps,
            kept=self.kept_replies,
            bodies=self.bodies,
            started=self.resolver.started,
            computed=self.resolver.computed,
            ended=self.resolver.ended,
        )
        return gate

    def _build_front(self, gate: Gate) -> None:
        """Assemble what clients reach: the hot routes, deferred calls, the control routes."""
        settings = self.settings
        store = DeferredStore(self.store, self._replica, self._bounds)
        attempts = Attempts(
            intake=self.intake,
            gate=gate,
            dispatcher=self.dispatcher,
            kept=self.kept_replies,
            models=self.fleet.models,
            ended=self.resolver.ended,
        )
        self.deferred = DeferredCalls(
            store,
            gate=gate,
            attempts=attempts,
            bodies=self.bodies,
            awaits=self.parking.awaits,
            why_not=lambda: self.store.status().why_not,
            models=self.fleet.models,
            ended=self.resolver.ended,
            left=self.programs.ended,
        )
        self.claims = Claims(RetryKeys(self.store), self.wakeups)
        self.retries = Retries(self.claims, self.orphans, self.background, settings.limits.value_bytes)
        self.cancellations = Cancellations(
            CancellationList(self.store, self._clock),
            store,
            self.wakeups.subscribe,
            (self.dispatcher.cancel, self.retries.cancel),
        )
        self.access = access = VariableAccess(self.variables, self.parking, self.cancellations, self.owners)
        variables = variable_routes(access, VariableStream(access, self.live), settings.limits.value_bytes)
        replies = deferred_routes(store, access)
        self.front = Front(
            authenticate=Keys(settings.keys).authenticate,
            bodies=self.bodies,
            intake=self.intake,
            dispatcher=self.dispatcher,
            deferred=self.deferred,
            retries=self.retries,
            control=control_app(ControlView(self), variables, replies),
            models=lambda: [worker.info for worker in self.fleet],
            refused=self.metrics.refused,
            refusals=Refusals(self.variables, self.background, self.parking.changed),
        )

    def _ran_on(self, call_id: str) -> str | None:
        return self.resolver.ran_on(call_id)

    def _orphaned(self, call: Call) -> None:
        self.resolver.orphaned(call)

    def _variables_changed(self, tenant: str, session: str, names: tuple[str, ...]) -> None:
        self.parking.changed(tenant, session)
        self.claims.changed(tenant, session)
        self.cancellations.changed(tenant, session)

    async def _finished_steps(self, tenant: str, session: str, names: tuple[str, ...]) -> dict[str, bool]:
        """Records are written behind the replies: this replica's are written first."""
        await self.recorder.flush()
        return await self.sessions.finished_steps(tenant, session, names)

    def _apply(self, settings: Settings) -> None:
        """Put what may change at run time into force."""
        self.settings = settings
        self._salts = Salts(settings.keys, settings.server.trust_groups, settings.request.cache_salt == "tenant")
        self.front.authenticate = Keys(settings.keys).authenticate
        self.front.comment_every_s = settings.timeouts.comment_every_s
        self.bodies.limit_bytes = settings.limits.body_bytes
        self.bodies.budget_bytes = settings.limits.held_bytes
        self.intake.mode = MODES[settings.hints.mode]
        self.intake.salt = self.dispatcher.salt = self.ahead.salt = self._salts
        self.ahead.settings = settings.ahead
        self.intake.limits = BodyLimits(
            json_depth=settings.limits.json_depth,
            json_containers=settings.limits.json_containers,
            n=settings.limits.n,
            remote_images=settings.request.allow_remote_images,
        )
        self.dispatcher.limits = attempt_limits(settings)
        self.parking.limit_per_tenant = self.deferred.limit_per_tenant = settings.limits.parked_per_tenant
        self.deferred.attempts.total_s = settings.timeouts.total_s
        self.maps.limit_items = settings.limits.map_items
        self.maps.limit_bytes = settings.limits.reply_bytes
        self.dataflow.input_s = settings.timeouts.input_s
        self.dispatcher.learns = settings.hints.mode != "off"
        logs.set_level(settings.log.level)

    async def serve(self, ready: Callable[[Listening], None] = lambda listening: None) -> None:
        """Serve until `stop` is set or a signal asks to stop; then drain. Raises: SettingsError."""
        log.info("serving", extra={"compiled": load.is_active(), "python": sys.version.split()[0]})
        loop = asyncio.get_running_loop()
        signals = {
            signal.SIGTERM: self._begin_stop,
            signal.SIGINT: self._begin_stop,
            signal.SIGHUP: self._reload_now,
        }

        def listening(found: Listening) -> None:
            self.listening = found
            ready(found)

        for number, handler in signals.items():
            loop.add_signal_handler(number, handler)
        try:
            await serve(
                self.front,
                admin_app(AdminView(self)),
                self.settings,
                ready=listening,
                stop=self.stop,
                refused=self.metrics.refused_http,
            )
        finally:
            for number in signals:
                loop.remove_signal_handler(number)

    def add_worker(self, name: str, url: str, api_key_env: str | None = None) -> Worker:
        """Watch a worker. Raises: ValueError if the name is in use."""
        key = os.environ.get(api_key_env) if api_key_env is not None else None
        engine = VllmWorker(url, api_key=key, connect_s=self.settings.timeouts.connect_s)
        return self.fleet.add(name, url, engine)

    def _begin_stop(self) -> None:
        if self.front.draining:
            log.warning("stop_at_once")
            for task in asyncio.all_tasks():
                task.cancel()
        self.front.draining = True
        self.stop.set()

    def _reload_now(self) -> None:
        if self._reload is None:
            return
        try:
            self._apply(self._reload(self.settings))
        except ValueError as error:
            log.error("settings_kept", extra={"reason": str(error)})

    def _evict(self, worker: str) -> None:
        self.dispatcher.evict(worker)

    def _snapshot(self) -> Snapshot:
        return self.loop.scheduler.snapshot(self._clock())

    async def _sweep(self) -> None:
        """What needs doing now and then: end calls whose time is up, forget what has aged."""
        while True:
            await asyncio.sleep(SWEEP_EVERY_S)
            self.dispatcher.expire()
            self.lineage.expire(self._clock())
            self.foresight.expire()

    def _own(self, task: asyncio.Task[None]) -> None:
        async def end() -> None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

        self._stack.push_async_callback(end)
