"""The watchdog: what it takes for a hang, and that the last resort needs no Python."""

import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest

from tests.unit.fakes import FakeEncoder, window_of
from worker.screening.engine import Engine, EngineLimits
from worker.screening.watchdog import Watchdog

STUCK = """
import re, sys
from worker.screening import watchdog
watchdog.GRACE_S = 0.2
watchdog.Watchdog(lambda: None, 0.4, lambda: None)
import time; time.sleep(0.5)
# One call into C that keeps the interpreter's lock for minutes.
re.match(r"(a+)+$", "a" * 40 + "b")
"""


def test_a_pass_over_the_limit_is_a_hang(caplog: pytest.LogCaptureFixture) -> None:
    hung = threading.Event()
    begun = time.monotonic()
    dog = Watchdog(lambda: begun - 1, 0.5, hung.set)
    assert hung.wait(10)
    dog.stop()
    assert "forward_hung" in caplog.text
    assert [record.levelno for record in caplog.records] == [logging.CRITICAL]


@pytest.mark.parametrize("busy_since", [time.monotonic, lambda: None], ids=["short passes", "idle"])
def test_short_passes_and_idleness_are_none(busy_since: Callable[[], float | None]) -> None:
    hung, looks = threading.Event(), threading.Semaphore(0)

    def looked() -> float | None:
        looks.release()
        return busy_since()

    dog = Watchdog(looked, 0.2, hung.set)
    for _ in range(8):
        assert looks.acquire(timeout=10)
    dog.stop()
    assert not hung.is_set()


def test_the_engine_says_since_when_it_is_at_a_pass() -> None:
    encoder = FakeEncoder()
    engine = Engine(encoder, encoder.n_signals, EngineLimits())
    assert engine.busy_since is None
    encoder.open.clear()
    before = time.monotonic()
    future = engine.submit([window_of(1)])
    assert encoder.entered.wait(10)
    assert engine.busy_since is not None
    assert before <= engine.busy_since <= time.monotonic()
    encoder.open.set()
    future.result(10)
    engine.stop()
    assert engine.busy_since is None


def test_a_stuck_interpreter_is_ended_all_the_same() -> None:
    ended = subprocess.run([sys.executable, "-c", STUCK], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert "Timeout" in ended.stderr
