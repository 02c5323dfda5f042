"""What the settings say to single parts: which store is opened, what an attempt may take, how the core decides."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from gateway.failed_attempts import MAX_ATTEMPTS
from gateway.replies.relay import AttemptLimits
from gateway.schedule.settings import SchedulerSettings
from gateway.settings import Settings
from gateway.store.open import Store, open_store
from gateway.store.server import BinaryMissing

log = logging.getLogger(__name__)


async def open_any_store(settings: Settings) -> Store:
    """The configured store; in memory, with a warning, if the private one has no redis-server to run."""
    data_dir, deadline_s = Path(settings.store.data_dir), settings.store.deadline_ms / 1000
    try:
        return await open_store(settings.store.url, data_dir=data_dir, deadline_s=deadline_s)
    except BinaryMissing as error:
        log.warning("store_is_volatile", extra={"reason": str(error)})
        return await open_store("memory://", data_dir=data_dir, deadline_s=deadline_s)


def attempt_limits(settings: Settings) -> AttemptLimits:
    """What the settings say of one attempt."""
    return AttemptLimits(
        first_byte_s=settings.timeouts.first_byte_s,
        idle_s=settings.timeouts.idle_s,
        total_s=settings.timeouts.total_s,
        reply_bytes=settings.limits.reply_bytes,
        headers=frozenset(name.lower().encode() for name in settings.request.allow_headers),
    )


def scheduler_settings(settings: Settings) -> SchedulerSettings:
    """What the settings say of the core."""
    schedule = settings.schedule
    return SchedulerSettings(
        order=schedule.order,
        group=schedule.group,
        place=schedule.place,
        admit=schedule.admit,
        share=schedule.share,
        pause=schedule.pause,
        begin_ratio=schedule.begin_ratio,
        tenant_weights=schedule.tenant_weights,
        seed=time.time_ns() & 0xFFFF_FFFF,
        max_queue_per_tenant=settings.limits.queue_per_tenant,
        reserve_per_tenant=settings.limits.parked_per_tenant,
        max_attempts=MAX_ATTEMPTS,
        max_calls_per_worker=schedule.max_calls_per_worker,
        default_kv_tokens=schedule.default_kv_tokens,
        sticky_margin=schedule.sticky_margin,
        delay_weight=schedule.delay_weight,
        group_window_s=schedule.group_window_s,
        no_worker_grace_s=schedule.no_worker_grace_s,
        fill_min_tokens=settings.ahead.min_tokens,
        fill_below_calls=settings.ahead.below_calls,
        max_fills_per_tenant=settings.ahead.per_tenant,
    )
