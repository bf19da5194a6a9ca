"""When a worker process loads the model, says it is ready, and says good-bye.

``threads`` and ``solo`` pools run tasks in the main process and send no ``worker_process_init``: the model
is loaded at ``worker_init``, before the consumer starts, so that no job waits for it. ``prefork`` children
each load their own: forking after torch has started its threads hangs.
"""

import logging
import multiprocessing
import os
import warnings
from typing import Any

from celery import signals
from celery.exceptions import CPendingDeprecationWarning

from tasks.leases import leases
from tasks.process import engine_alive, preload, unload
from tasks.startup import or_exit, start_sentry
from worker.observe.health import Heartbeat
from worker.observe.logging import configure_logging
from worker.screening.assets import check_files
from worker.settings import Settings
from worker.topic.connection import connect
from worker.topic.lag import LagWatch

log = logging.getLogger(__name__)


def install(settings: Settings) -> None:
    """Connect Celery's signals. Call once per process, before the worker starts."""
    # Shared with prefork children: how many processes have loaded the model.
    loaded = multiprocessing.Value("i", 0)
    heartbeat = (
        Heartbeat(settings.health_file, lambda: loaded.value > 0 and engine_alive()) if settings.health_file else None
    )

    lag_watch = LagWatch(connect(settings), settings)

    def load() -> None:
        start_sentry(settings)
        preload(settings)
        with loaded.get_lock():
            loaded.value += 1

    def check() -> None:
        # Children that cannot load are restarted for ever: find out before the first fork.
        check_files(settings)

    def on_init(sender: Any = None, **_: Any) -> None:
        or_exit(check if _forks(sender) else load)

    def on_process_init(**_: Any) -> None:
        or_exit(load)

    def on_ready(**_: Any) -> None:
        # Celery would explain at every lost connection what its next major version will do.
        warnings.filterwarnings("ignore", category=CPendingDeprecationWarning)
        leases.start(settings)
        lag_watch.start()
        if heartbeat:
            heartbeat.start()
        log.info("worker ready pid=%d", os.getpid())

    def on_shutdown(**_: Any) -> None:
        if heartbeat:
            heartbeat.stop()
        lag_watch.stop()
        leases.stop()
        unload()

    # A receiver keeps Celery from configuring the root logger, which would make libraries speak of their data.
    signals.setup_logging.connect(lambda **_: None, weak=False)
    configure_logging(settings.log_level)
    signals.worker_init.connect(on_init, weak=False)
    signals.worker_process_init.connect(on_process_init, weak=False)
    signals.worker_ready.connect(on_ready, weak=False)
    signals.worker_shutdown.connect(on_shutdown, weak=False)
    signals.worker_process_shutdown.connect(lambda **_: unload(), weak=False)


def _forks(worker: Any) -> bool:
    pool = getattr(worker, "pool_cls", None)
    name = pool if isinstance(pool, str) else getattr(pool, "__module__", "")
    return "prefork" in str(name)
