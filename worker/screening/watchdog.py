"""End a process whose forward pass hangs: nothing else can, because Python cannot stop a thread."""

import faulthandler
import logging
import threading
import time
from collections.abc import Callable

log = logging.getLogger(__name__)

STDERR = 2
GRACE_S = 10.0
"""Seconds after the limit at which the process ends even if the interpreter itself is stuck."""


class Watchdog:
    """Looks how long the engine has been at one forward pass.

    A hang inside native code that keeps the interpreter's lock keeps this thread from running too. A timer of
    faulthandler's, which needs no lock and is set anew at every look, ends the process then.

    Args:
        busy_since: ``time.monotonic()`` at which the pass in progress began; None between passes.
        limit_s: Longest pass, in seconds.
        on_hang: Called once, in the watchdog's thread; it should not return.
    """

    def __init__(self, busy_since: Callable[[], float | None], limit_s: float, on_hang: Callable[[], None]):
        self._busy_since = busy_since
        self._limit_s = limit_s
        self._on_hang = on_hang
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="firewall-watchdog", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Look no longer."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            while not self._stop.wait(min(1.0, self._limit_s / 4)):
                # The traceback names files and functions, never what they handle.
                faulthandler.dump_traceback_later(self._limit_s + GRACE_S, exit=True, file=STDERR)
                since = self._busy_since()
                if since is not None and time.monotonic() - since > self._limit_s:
                    log.critical(
                        "forward_hung: a forward pass takes longer than %.0f s; the worker ends and its jobs go back. "
                        "Raise FIREWALL_FORWARD_TIMEOUT_S if the machine is only slow",
                        self._limit_s,
                    )
                    self._on_hang()
                    return
        finally:
            faulthandler.cancel_dump_traceback_later()
