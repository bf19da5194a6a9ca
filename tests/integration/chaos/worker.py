"""A worker process with a fake forward pass: everything else is what ``alknet-firewall worker`` runs."""

import multiprocessing
import os
import sys
import threading
from pathlib import Path

# Imported here, so that a fork server has all of it loaded and a worker starts in a fraction of the time.
import sentry_sdk.integrations.celery  # noqa: F401
import typer

import tasks.app
import tasks.broker.transport
import tasks.consumer
import tasks.control
import tasks.private_request
import tasks.process
import worker.topic.connection
import worker.topic.lag
from tasks.cli.worker import worker as command
from tests.integration.chaos import stages
from tests.integration.chaos.engine import misbehaving_screener

LOOK_VARIABLE = "CHAOS_LAG_LOOK_S"
"""Environment variable: seconds between two looks at the consumer groups."""

SOCKET_TIMEOUT_S = 1.0
"""Seconds after which a frozen Redis counts as gone; short, so that it is frozen for longer now and then."""


def run(environment: dict[str, str], log: str, pool: str, concurrency: int) -> None:
    """Be a worker; the target of a process of its own."""
    os.setsid()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for descriptor in (1, 2):
        os.dup2(output, descriptor)
    os.environ.update(environment)
    Path(environment["FIREWALL_HEALTH_FILE"]).unlink(missing_ok=True)
    tasks.process.load_screener = misbehaving_screener
    stages.plant()
    tasks.app.BROKER_TIMEOUT_S = worker.topic.connection.SOCKET_TIMEOUT_S = SOCKET_TIMEOUT_S
    worker.topic.lag.LOOK_S = float(environment.get(LOOK_VARIABLE, worker.topic.lag.LOOK_S))
    sys.argv = ["alknet-firewall"]
    try:
        command(concurrency=concurrency, queue=None, pool=pool)
    except typer.Exit as end:
        sys.exit(end.exit_code)


def _end_with_parent() -> None:
    """Nobody else would end the worker of a test run that was killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
