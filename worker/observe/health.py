"""A file that says "alive and ready": its age is the health check. No port is opened for it."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

BEAT_S = 5.0
POLL_S = 0.2
STALE_S = 30.0


class Heartbeat:
    """Touches a file while the worker is ready; removes it on the way out.

    Args:
        path: The file.
        is_ready: Asked before every touch.
    """

    def __init__(self, path: Path, is_ready: Callable[[], bool] = lambda: True):
        path.unlink(missing_ok=True)  # one left by a crash would say ready while the model still loads
        self._path = path
        self._is_ready = is_ready
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="firewall-heartbeat", daemon=True)

    def start(self) -> None:
        """Touch the file as soon as the process is ready, and then every ``BEAT_S`` seconds."""
        if self._is_ready():
            self._path.touch()
        self._thread.start()

    def stop(self) -> None:
        """Remove the file."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        self._path.unlink(missing_ok=True)

    def _run(self) -> None:
        while not self._stop.wait(BEAT_S if self._path.exists() else POLL_S):
            if self._is_ready():
                self._path.touch()


def is_healthy(path: Path) -> bool:
    """Tell whether the file is there and was touched within ``STALE_S`` seconds."""
    try:
        return time.time() - path.stat().st_mtime < STALE_S
    except OSError:
        return False
