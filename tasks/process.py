"""What one worker process holds: the loaded engine and the way to the result topic."""

import os
import threading

from tasks.leases import leases
from worker.screening.drift_watch import DriftWatch
from worker.screening.jobs import JobRunner
from worker.screening.loading import load_screener
from worker.screening.policy_file import load_rules
from worker.screening.tenancy import Tenancy
from worker.screening.watchdog import Watchdog
from worker.settings import Settings
from worker.topic.attempts import RedisAttempts
from worker.topic.connection import connect
from worker.topic.limits import RedisTenantLimits
from worker.topic.publisher import redis_publisher

_lock = threading.Lock()
_runner: JobRunner | None = None
_watchdog: Watchdog | None = None

EXIT_HUNG = 70
"""``EX_SOFTWARE`` of sysexits.h: restart it."""


def preload(settings: Settings) -> JobRunner:
    """Load model and codebook once for this process and return the runner."""
    global _runner, _watchdog  # noqa: PLW0603 - one engine a process is the point
    with _lock:
        if _runner is None:
            screener, publisher = load_screener(settings), redis_publisher(settings)
            _runner = JobRunner(
                screener,
                publisher,
                RedisAttempts(connect(settings), ttl_s=settings.dedupe_ttl_s),
                max_attempts=settings.max_attempts,
                excerpts=settings.evidence_excerpts,
                tenancy=Tenancy(
                    load_rules(settings.policies), RedisTenantLimits(connect(settings), settings.visibility_timeout_s)
                ),
                drift=DriftWatch(screener, publisher, settings.drift_texts) if settings.drift_texts else None,
            )
            if settings.forward_timeout_s:
                engine = _runner.screener.engine
                _watchdog = Watchdog(lambda: engine.busy_since, settings.forward_timeout_s, lambda: _end_hung(settings))
        return _runner


def runner() -> JobRunner:
    """Return the preloaded runner.

    Raises:
        RuntimeError: The process was never preloaded; the pool sends no signal that would do it.
    """
    if _runner is None:
        raise RuntimeError("the worker process was not preloaded")
    return _runner


def has_engine() -> bool:
    """Tell whether this process was preloaded; a prefork parent is not."""
    return _runner is not None


def engine_alive() -> bool:
    """Tell whether this process' engine still runs; True in a prefork parent, which has none."""
    return _runner is None or _runner.screener.engine.alive


def unload() -> None:
    """Stop the engine, if this process has one."""
    global _runner, _watchdog  # noqa: PLW0603
    with _lock:
        if _watchdog is not None:
            _watchdog.stop()
            _watchdog = None
        if _runner is not None:
            _runner.screener.engine.stop()
            _runner = None


def _end_hung(settings: Settings) -> None:
    """End the process from a thread, while another one hangs; its jobs need not wait for a timeout."""
    try:
        if settings.health_file:
            settings.health_file.unlink(missing_ok=True)
        leases.give_back(settings)
    finally:
        os._exit(EXIT_HUNG)
