"""When a webhooks worker reads its endpoints, begins to deliver, and says good-bye. It loads no model."""

import logging
import os
from collections.abc import Callable

from celery import Celery, signals

from tasks.deliver import stop_delivering
from tasks.dispatch import Dispatcher
from tasks.startup import or_exit, start_sentry
from worker.observe.health import Heartbeat
from worker.observe.logging import configure_logging
from worker.observe.metrics import serve_metrics
from worker.settings import Settings
from worker.topic.connection import connect, connect_checked
from worker.topic.metrics import TopicCollector
from worker.webhooks.declared import apply_file
from worker.webhooks.endpoints import EndpointStore
from worker.webhooks.metrics import WebhookCollector
from worker.webhooks.schedule import Schedule
from worker.webhooks.sender import sender_of

log = logging.getLogger(__name__)


class WebhookProcess:
    """What a webhooks worker runs beside Celery's consumer."""

    def __init__(self, settings: Settings):
        self._settings = settings
        self._dispatcher: Dispatcher | None = None
        self._heartbeat: Heartbeat | None = None
        self._stop_metrics: Callable[[], None] | None = None

    def prepare(self) -> None:
        """Check the settings, read the declared endpoints, serve metrics.

        Raises:
            FirewallError: The worker cannot serve.
        """
        settings = self._settings
        start_sentry(settings)
        guard = sender_of(settings).guard
        if settings.health_file:
            self._heartbeat = Heartbeat(settings.health_file, self._is_alive)
        if settings.webhooks_file:
            apply_file(settings.webhooks_file, EndpointStore(connect_checked(settings)), guard)
        if settings.metrics_port:
            redis = connect(settings)
            self._stop_metrics = serve_metrics(
                settings.metrics_port, WebhookCollector(redis), TopicCollector(redis, settings)
            )

    def start(self, app: Celery) -> None:
        """Begin to dispatch; the consumer is up."""
        self._dispatcher = Dispatcher(app, Schedule(connect(self._settings)))
        self._dispatcher.start()
        if self._heartbeat:
            self._heartbeat.start()
        log.info("webhooks worker ready pid=%d", os.getpid())

    def stop(self) -> None:
        """End what ``prepare`` and ``start`` began."""
        if self._heartbeat:
            self._heartbeat.stop()
        if self._dispatcher:
            self._dispatcher.stop()
        if self._stop_metrics:
            self._stop_metrics()

    def _is_alive(self) -> bool:
        return self._dispatcher is not None and self._dispatcher.alive


def install(settings: Settings) -> None:
    """Connect Celery's signals. Call once per process, before the worker starts."""
    process = WebhookProcess(settings)
    # A receiver keeps Celery from configuring the root logger, which would make libraries speak of their data.
    signals.setup_logging.connect(lambda **_: None, weak=False)
    configure_logging(settings.log_level)
    signals.worker_init.connect(lambda **_: or_exit(process.prepare), weak=False)
    signals.worker_ready.connect(lambda sender, **_: process.start(sender.app), weak=False)
    signals.worker_shutting_down.connect(lambda **_: stop_delivering(), weak=False)
    signals.worker_shutdown.connect(lambda **_: process.stop(), weak=False)
