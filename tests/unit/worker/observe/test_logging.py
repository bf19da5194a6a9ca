"""Log lines: UTC, one a line, libraries quiet."""

import logging
from collections.abc import Iterator

import pytest

from worker.observe.logging import UtcFormatter, configure_logging


@pytest.fixture
def _loggers_as_before() -> Iterator[None]:
    root = logging.getLogger()
    before = (root.level, list(root.handlers))
    names = {name: logging.getLogger(name).level for name in ("worker", "tasks")}
    yield
    root.level = before[0]
    root.handlers[:] = before[1]
    for name, level in names.items():
        logging.getLogger(name).setLevel(level)


def test_times_are_utc_with_milliseconds() -> None:
    record = logging.LogRecord("worker", logging.INFO, "", 0, "ready", None, None)
    record.created, record.msecs = 0.25, 250.0
    assert UtcFormatter("%(asctime)s %(message)s").format(record) == "1970-01-01T00:00:00.250Z ready"


@pytest.mark.usefixtures("_loggers_as_before")
def test_only_our_own_loggers_speak_below_warning() -> None:
    configure_logging("DEBUG")
    assert logging.getLogger("worker.screening").isEnabledFor(logging.DEBUG)
    assert logging.getLogger("tasks.screen").isEnabledFor(logging.DEBUG)
    assert not logging.getLogger("transformers").isEnabledFor(logging.INFO)
