"""Turn the schedule's due endpoints into Celery tasks. Runs beside the consumer of every webhooks worker."""

import logging
import threading

from celery import Celery

from schemas.names import QUEUE_WEBHOOKS, TASK_DELIVER
from worker.webhooks.schedule import Schedule

log = logging.getLogger(__name__)

LONGEST_WAIT_S = 1.0
"""Seconds between two looks at the schedule when nothing wakes the dispatcher."""


class Dispatcher:
    """Sends a task for every endpoint that has something due.

    Several dispatchers share the work. A task that is never run, because its dispatcher or worker died, is sent again
    when its time is up; no endpoint has more tasks on their way than it has work and room for.

    Args:
        app: An application whose broker is the schedule's Redis.
        schedule: What is due when.
    """

    def __init__(self, app: Celery, schedule: Schedule):
        self._app = app
        self._schedule = schedule
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="firewall-dispatch", daemon=True)

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._dispatch_once()
            except Exception as error:  # noqa: BLE001 - mostly a broker that is gone for a while
                log.warning("webhooks wait: no turn could be given (%s)", type(error).__name__)
                self._stop.wait(LONGEST_WAIT_S)

    def _dispatch_once(self) -> None:
        nudges, wait_s = self._schedule.due()
        for nudge in nudges:
            arguments = [nudge.endpoint_id, nudge.name]
            self._app.send_task(TASK_DELIVER, args=arguments, queue=QUEUE_WEBHOOKS, ignore_result=True)
        if wait_s > 0:
            self._schedule.wait(min(wait_s, LONGEST_WAIT_S))
