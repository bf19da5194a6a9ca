"""Remote-control commands: what a running worker tells, and is told, over Celery's own control channel."""

import logging
from dataclasses import asdict
from typing import Any

from celery.worker.control import control_command, inspect_command, nok, ok

from tasks.process import has_engine, runner
from worker.errors import SettingsError
from worker.screening.policy_file import load_rules
from worker.topic.connection import connect
from worker.topic.lag import group_lags

log = logging.getLogger(__name__)


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


@control_command()
def reload_policies(state: Any) -> Any:
    """Read the policy file anew, or keep to the old rules and say what is wrong; ``control reload_policies``."""
    if not has_engine():
        return nok("the parent of a prefork pool cannot reload its children's policies; restart the workers")
    try:
        rules = load_rules(state.app.firewall_settings.policies)
    except SettingsError as error:
        log.error("policies stay as they are: %s", error.message)  # noqa: TRY400
        return nok(error.message)
    runner().use(rules)
    log.info("policies reloaded: %s", ", ".join(sorted(rules.policies)))
    return ok("policies: " + ", ".join(sorted(rules.policies)))
