"""Keep the broker from giving a running job to another worker.

Kombu restores a message to its queue when it has been unacknowledged for the visibility timeout, whether
its worker is dead or only busy. Each worker renews what it holds, so that the timeout can be short, and a
dead worker's jobs come back soon, however long a live worker's jobs take.
"""

import logging
import threading
import time

from redis.exceptions import RedisError

from tasks.broker.scripts import LEASES, give_back
from worker.settings import Settings
from worker.topic.connection import connect

log = logging.getLogger(__name__)

LAST_TAKE_S = 0.3
"""Seconds in which a message that was asked for before arrives."""


class Leases:
    """The delivery tags this process holds, renewed three times per visibility timeout.

    Attributes:
        ending: The process is about to end; its transport takes no more messages.
    """

    def __init__(self) -> None:
        self.ending = False
        self._held: set[str] = set()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def hold(self, tag: str) -> None:
        """Renew a message from now on."""
        with self._lock:
            self._held.add(tag)

    def release(self, tag: str) -> None:
        """Renew it no longer; it was acknowledged or handed back."""
        with self._lock:
            self._held.discard(tag)

    def give_back(self, settings: Settings) -> None:
        """Put everything held back into its queues, for a process that is about to end without an orderly shutdown.

        Its consumer still runs: it must take nothing any more, or it would take what was just given back.
        """
        self.ending = True
        time.sleep(LAST_TAKE_S)
        with self._lock:
            held = list(self._held)
        give_back(connect(settings), held, first=True)

    def start(self, settings: Settings) -> None:
        """Start the renewing thread."""
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, args=(settings,), name="firewall-leases", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop renewing."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self, settings: Settings) -> None:
        redis = connect(settings)
        while not self._stop.wait(settings.visibility_timeout_s / 3):
            with self._lock:
                held = list(self._held)
            if not held:
                continue
            try:
                # XX: a message that was restored meanwhile is another worker's and must not come back.
                now = redis.time()[0]  # the clock by which leases run out
                redis.zadd(LEASES, dict.fromkeys(held, now), xx=True)
            except RedisError as error:
                log.warning("leases not renewed: %s", type(error).__name__)


leases = Leases()
"""One broker connection a process, hence one set of leases."""
