"""Send a load through a real Redis and real worker processes, and read how fast the results come."""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from celery import Celery
from redis import Redis

from schemas.names import STREAM_RESULTS, TASK_SCREEN
from worker.observe.health import is_healthy

TIMEOUT_S = 300.0


@dataclass
class Passage:
    """A load that went through.

    Attributes:
        items: Number of items.
        seconds: From the first job sent to the last result published.
        latencies: Of every item, seconds from sent to published, ascending.
    """

    items: int
    seconds: float
    latencies: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Items per second."""
        return self.items / self.seconds

    def percentile(self, share: float) -> float:
        """Return a latency in milliseconds."""
        return 1000 * self.latencies[min(len(self.latencies) - 1, int(share * len(self.latencies)))]


@contextmanager
def workers(
    url: str, count: int = 1, *, environment: Mapping[str, str] | None = None, pin: bool = False
) -> Iterator[list[int]]:
    """Start workers, wait until all are ready, yield their pids, and end them by pid.

    Args:
        url: Their Redis.
        count: Number of processes.
        environment: Further variables.
        pin: Give each a core of its own.
    """
    cores = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(prefix="bench-worker-") as directory:
        started = []
        try:
            for number in range(count):
                health, log = Path(directory, f"health{number}"), Path(directory, f"log{number}")
                core = {cores[number % len(cores)]} if pin else set(cores)
                with log.open("wb") as output:
                    process = subprocess.Popen(
                        [sys.executable, "-m", "tasks", "worker"],
                        env={
                            **os.environ,
                            **(environment or {}),
                            "FIREWALL_REDIS_URL": url,
                            "FIREWALL_HEALTH_FILE": str(health),
                        },
                        stdout=output,
                        stderr=subprocess.STDOUT,
                        start_new_session=True,
                    )
                os.sched_setaffinity(process.pid, core)
                started.append((process, health, log))
            for process, health, log in started:
                _wait(process, health, log)
            yield [process.pid for process, _, _ in started]
        finally:
            for process, _, _ in started:
                if process.poll() is None:
                    process.send_signal(signal.SIGTERM)
            for process, _, _ in started:
                try:
                    process.wait(30)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


class Sender:
    """Sends jobs as a producer does and reads the result stream."""

    def __init__(self, url: str) -> None:
        self.redis = Redis.from_url(url, decode_responses=True, protocol=2)
        self.app = Celery("bench", broker=url, set_as_current=False)
        self._last = "$"

    def close(self) -> None:
        """Let go of both connections."""
        self.app.close()
        self.redis.close()

    def saturate(self, texts: Sequence[str], items: int, outstanding: int) -> Passage:
        """Send all texts in jobs of so many items, never more than ``outstanding`` items ahead of the results."""
        jobs = [texts[start : start + items] for start in range(0, len(texts), items)]
        return self._drive(jobs, outstanding, [0.0] * len(jobs))

    def arrive(self, texts: Sequence[str], rate: float, seed: int = 5) -> Passage:
        """Send one-item jobs as a Poisson process of so many a second."""
        generator, at, due = random.Random(seed), 0.0, []
        for _ in texts:
            at += generator.expovariate(rate)
            due.append(at)
        return self._drive([[text] for text in texts], len(texts), due)

    def one_by_one(self, texts: Sequence[str]) -> Passage:
        """Send each text when the one before has come back."""
        return self._drive([[text] for text in texts], 1, [0.0] * len(texts))

    def _drive(self, jobs: Sequence[Sequence[str]], outstanding: int, due: Sequence[float]) -> Passage:
        run = uuid.uuid4().hex[:8]
        total = sum(map(len, jobs))
        sent_at: dict[str, float] = {}
        latencies: list[float] = []
        start, last = time.time(), 0.0
        position = ahead = 0
        self._last = self._newest()
        while len(latencies) < total:
            while (
                position < len(jobs)
                and (not ahead or ahead + len(jobs[position]) <= outstanding)
                and time.time() - start >= due[position]
            ):
                ahead += len(jobs[position])
                sent_at[f"{run}-{position}"] = time.time()
                self._send(f"{run}-{position}", jobs[position])
                position += 1
            wait = 1000.0 if position == len(jobs) or ahead else 0.0
            if position < len(jobs) and due[position]:
                wait = min(wait or 1000.0, 1000 * (due[position] - (time.time() - start)))
            for published, job in self._read(max(1, int(wait))):
                if job in sent_at:
                    latencies.append(published - sent_at[job])
                    last = max(last, published)
                    ahead -= 1
            if time.time() - start > TIMEOUT_S:
                raise TimeoutError(f"{len(latencies)} of {total} results within {TIMEOUT_S} s")
        return Passage(total, last - start, sorted(latencies))

    def _send(self, job_id: str, texts: Sequence[str]) -> None:
        items = [{"id": str(number), "text": text} for number, text in enumerate(texts)]
        self.app.send_task(
            TASK_SCREEN,
            args=[{"job_id": job_id, "items": items}],
            queue="screening",
            ignore_result=True,
            argsrepr="(hidden)",
        )

    def _newest(self) -> str:
        entries = self.redis.xrevrange(STREAM_RESULTS, count=1)
        return entries[0][0] if entries else "0"

    def _read(self, block_ms: int) -> list[tuple[float, str]]:
        """Return when each new result was published, and its job."""
        found = []
        for _, entries in self.redis.xread({STREAM_RESULTS: self._last}, count=2000, block=block_ms) or []:
            for entry, fields in entries:
                self._last = entry
                # The job id stands at a fixed place of the envelope; a JSON parser here would compete with the worker.
                event = fields["event"]
                start = event.index('"subject":"') + 11
                found.append((int(entry.split("-")[0]) / 1000, event[start : event.index('"', start)]))
        return found


def _wait(process: "subprocess.Popen[bytes]", health: Path, log: Path) -> None:
    deadline = time.monotonic() + 120
    while not is_healthy(health):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(log.read_text(errors="replace")[-3000:])
        time.sleep(0.02)
