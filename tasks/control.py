"""Remote-control commands: what a running worker tells over Celery's own control channel."""

from dataclasses import asdict
from typing import Any

from celery.worker.control import inspect_command

from tasks.process import has_engine, runner
from worker.topic.connection import connect
from worker.topic.lag import group_lags


@inspect_command()
def engine_stats(state: Any) -> dict[str, Any]:
    """Return the engine's counters since the start, or nothing in a prefork parent; ``inspect engine_stats``."""
    del state
    return asdict(runner().screener.engine.stats) if has_engine() else {}


@inspect_command()
def topic_lag(state: Any) -> list[dict[str, Any]]:
    """Return how every consumer group of the result topic keeps up; ``inspect topic_lag``."""
    settings = state.app.firewall_settings
    with connect(settings) as redis:
        return [asdict(lag) for lag in group_lags(redis, settings)]


@inspect_command()
def drift(state: Any) -> dict[str, Any]:
    """Return where this process' drift monitor stands, by policy, if it has one; ``inspect drift``."""
    del state
    watch = runner().drift if has_engine() else None
    return watch.state() if watch else {}
