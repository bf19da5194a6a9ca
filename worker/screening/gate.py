"""Let ordinary jobs run beside one another, and a suspect alone."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Gate:
    """A lock with two ways in.

    A job whose earlier start came to no end may be the one that kills its worker. Run alone, it takes
    nobody along: jobs that wait at the gate have not been started, and no attempt of theirs is counted.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._beside = 0
        self._alone = False
        self._suspects = 0

    @contextmanager
    def beside(self) -> Iterator[None]:
        """Enter with others; wait while a suspect is in or waits."""
        with self._changed:
            self._changed.wait_for(lambda: not self._alone and not self._suspects)
            self._beside += 1
        try:
            yield
        finally:
            with self._changed:
                self._beside -= 1
                self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Enter when nobody is in; nobody enters meanwhile."""
        with self._changed:
            self._suspects += 1
            self._changed.wait_for(lambda: not self._alone and not self._beside)
            self._suspects -= 1
            self._alone = True
        try:
            yield
        finally:
            with self._changed:
                self._alone = False
                self._changed.notify_all()
