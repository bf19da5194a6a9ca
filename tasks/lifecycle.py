"""When a worker process loads the model, says it is ready, and says good-bye.

``threads`` and ``solo`` pools run tasks in the main process and send no ``worker_process_init``: the model
is loaded at ``worker_init``, before the consumer starts, so that no job waits for it. ``prefork`` children
each load their own: forking after torch has started its threads hangs.
"""

import logging
import multiprocessing
import os
import warnings
from collections.abc import Callable
from typing import Any

from celery import signals
from celery.exceptions import CPendingDeprecationWarning

from tasks.leases import leases
from tasks.process import engine_alive, preload, unload
from tasks.startup import or_exit, start_sentry
from worker.observe.health import Heartbeat
from worker.observe.logging import configure_logging
from worker.observe.metrics import serve_metrics
from worker.screening.assets import check_files
from worker.settings import Settings
from worker.topic.connection import connect
from worker.topic.lag import LagWatch
from worker.topic.metrics import TopicCollector

log = logging.getLogger(__name__)


class ScreeningProcess:
    """What a screening worker runs beside Celery's consumer."""

    def __init__(self, settings: Settings):
        self._settings = settings
        # Shared with prefork children: how many processes have loaded the model.
        self._loaded = multiprocessing.Value("i", 0)
        self._heartbeat = (
            Heartbeat(settings.health_file, lambda: self._loaded.value > 0 and engine_alive())
            if settings.health_file
            else None
        )
        self._lag_watch = LagWatch(connect(settings), settings)
        self._stop_metrics: Callable[[], None] | None = None

    def load(self) -> None:
        """Load model and codebook into this process.

        Raises:
            FirewallError: The worker cannot serve.
        """
        start_sentry(self._settings)
        preload(self._settings)
        with self._loaded.get_lock():
            self._loaded.value += 1

    def check(self) -> None:
        """Check what children will load: those that cannot are restarted for ever, so find out before the first fork.

        Raises:
            FirewallError: They could not serve.
        """
        check_files(self._settings)

    def start(self) -> None:
        """Begin what runs beside the consumer, which is up."""
        settings = self._settings
        # Celery would explain at every lost connection what its next major version will do.
        warnings.filterwarnings("ignore", category=CPendingDeprecationWarning)
        if settings.metrics_port:
            or_exit(self._serve_metrics)
        leases.start(settings)
        self._lag_watch.start()
        if self._heartbeat:
            self._heartbeat.start()
        log.info("worker ready pid=%d", os.getpid())

    def stop(self) -> None:
        """End what ``load`` and ``start`` began."""
        if self._heartbeat:
            self._heartbeat.stop()
        self._lag_watch.stop()
        if self._stop_metrics:
            self._stop_metrics()
        leases.stop()
        unload()

    def _serve_metrics(self) -> None:
        topic = TopicCollector(connect(self._settings), self._settings)
        self._stop_metrics = serve_metrics(self._settings.metrics_port, topic)


def install(settings: Settings) -> None:
    """Connect Celery's signals. Call once per process, before the worker starts."""
    process = ScreeningProcess(settings)

    def on_init(sender: Any = None, **_: Any) -> None:
        or_exit(process.check if _forks(sender) else process.load)

    # A receiver keeps Celery from configuring the root logger, which would make libraries speak of their data.
    signals.setup_logging.connect(lambda **_: None, weak=False)
    configure_logging(settings.log_level)
    signals.worker_init.connect(on_init, weak=False)
    signals.worker_process_init.connect(lambda **_: or_exit(process.load), weak=False)
    signals.worker_ready.connect(lambda **_: process.start(), weak=False)
    signals.worker_shutdown.connect(lambda **_: process.stop(), weak=False)
    signals.worker_process_shutdown.connect(lambda **_: unload(), weak=False)


def _forks(worker: Any) -> bool:
    pool = getattr(worker, "pool_cls", None)
    name = pool if isinstance(pool, str) else getattr(pool, "__module__", "")
    return "prefork" in str(name)
