"""What every kind of worker does when it starts: Sentry, and an end in one line if it cannot serve."""

import logging
import sys
from collections.abc import Callable

from worker.errors import FirewallError
from worker.observe.sentry import init_sentry
from worker.settings import Settings

log = logging.getLogger(__name__)

EXIT_CONFIGURATION = 78
"""``EX_CONFIG`` of sysexits.h: do not restart before someone has looked."""


def or_exit(load: Callable[[], object]) -> None:
    """Load, or end the process.

    Celery swallows ordinary exceptions of signal receivers, and a worker without what it needs would take jobs
    and fail them all.
    """
    try:
        load()
    except FirewallError as error:
        log.critical("%s: %s", error.code, error.message)
        sys.exit(EXIT_CONFIGURATION)
    except Exception:
        log.critical("load_failed: the worker cannot start", exc_info=True)
        sys.exit(EXIT_CONFIGURATION)


def start_sentry(settings: Settings) -> None:
    """Start Sentry if a DSN is set."""
    from sentry_sdk.integrations.celery import CeleryIntegration

    init_sentry(settings, integrations=[CeleryIntegration()])
