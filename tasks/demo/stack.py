"""Start and end a worker process of our own, and know when it is ready."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from worker.errors import ServiceError
from worker.observe.health import is_healthy

READY_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 30.0


@contextmanager
def running_worker(redis_url: str, environment: Mapping[str, str] | None = None) -> Iterator["subprocess.Popen[bytes]"]:
    """Start ``alknet-firewall worker``, wait until it is ready, and end it by its pid.

    Args:
        redis_url: Its Redis.
        environment: Further variables.

    Raises:
        ServiceError: It did not become ready; the message holds the end of its log.
    """
    with tempfile.TemporaryDirectory(prefix="firewall-worker-") as directory:
        health, log = Path(directory, "health"), Path(directory, "log")
        variables = {
            **os.environ,
            **(environment or {}),
            "FIREWALL_REDIS_URL": redis_url,
            "FIREWALL_HEALTH_FILE": str(health),
        }
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "tasks", "worker"],
                env=variables,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            _wait_until_ready(process, health, log)
            yield process
        finally:
            end(process)


def end(process: "subprocess.Popen[bytes]") -> None:
    """Ask a process to finish what it has in hand; kill it if it does not."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _wait_until_ready(process: "subprocess.Popen[bytes]", health: Path, log: Path) -> None:
    deadline = time.monotonic() + READY_TIMEOUT_S
    while not is_healthy(health):
        if process.poll() is not None or time.monotonic() > deadline:
            end_of_log = log.read_text(encoding="utf-8", errors="replace")[-2000:]
            raise ServiceError(f"the worker did not become ready (exit status {process.poll()}):\n{end_of_log}")
        time.sleep(0.05)
