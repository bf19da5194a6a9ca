"""Worker processes that are started, frozen and killed at will."""

import multiprocessing
import os
import signal
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tests.integration.chaos.worker import run

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(["tests.integration.chaos.worker"])

READY_S = 90.0


@dataclass
class Member:
    """A worker process.

    Attributes:
        process: Of multiprocessing.
        health: File that is there once it takes jobs.
        log: What it wrote.
        ready_at: ``time.monotonic()`` at which it was seen to take jobs.
        told_to_end: ``time.monotonic()`` at which it was sent SIGTERM.
    """

    process: Any
    health: Path
    log: Path
    ready_at: float | None = None
    told_to_end: float | None = None

    @property
    def alive(self) -> bool:
        return bool(self.process.is_alive())

    @property
    def ready(self) -> bool:
        """Whether it takes jobs; remembers since when."""
        if self.ready_at is None and self.health.exists():
            self.ready_at = time.monotonic()
        return self.ready_at is not None and self.alive

    @property
    def resident_mb(self) -> float:
        """Resident memory in MiB; 0 once it is dead."""
        try:
            status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        except OSError:
            return 0.0
        return int(status.split("VmRSS:")[1].split()[0]) / 1024 if "VmRSS:" in status else 0.0

    def send(self, signum: int) -> None:
        os.kill(self.process.pid, signum)

    def kill(self) -> None:
        self.send(signal.SIGKILL)
        self.process.join()


class Fleet:
    """Starts workers of one Redis, and ends those it started."""

    def __init__(self, url: str, directory: Path, *, pool: str = "threads", concurrency: int = 8, **variables: str):
        self._directory = directory
        self._pool, self._concurrency = pool, concurrency
        self._environment = {
            "FIREWALL_REDIS_URL": url,
            "FIREWALL_VISIBILITY_TIMEOUT_S": "5",
            "FIREWALL_THREADS": "1",
            **variables,
        }
        self.members: list[Member] = []

    def start(self, **variables: str) -> Member:
        """Start a worker; do not wait for it."""
        name = uuid.uuid4().hex[:8]
        health, log = self._directory / f"health-{name}", self._directory / f"log-{name}"
        environment = {**self._environment, "FIREWALL_HEALTH_FILE": str(health), **variables}
        process = _SERVER.Process(target=run, args=(environment, str(log), self._pool, self._concurrency))
        process.start()
        member = Member(process, health, log)
        self.members.append(member)
        return member

    def started(self, **variables: str) -> Member:
        """Start a worker and wait until it takes jobs."""
        member = self.start(**variables)
        deadline = time.monotonic() + READY_S
        while not member.ready:
            assert member.alive, member.log.read_text()
            assert time.monotonic() < deadline, "the worker does not become ready"
            time.sleep(0.02)
        return member

    def bury(self, member: Member) -> None:
        """Forget a worker that has ended."""
        self.members.remove(member)
        member.health.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for member in self.members:
            if member.alive:
                member.send(signal.SIGCONT)
                member.kill()
