"""A corpus through a real Redis and worker by the real command, killed at random moments and resumed."""

import random
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from redis import Redis

from benchmarks.bulk.command import end_of, sample, start
from benchmarks.bulk.corpus import compare, records_in, write_corpus
from benchmarks.bulk.files import alone
from benchmarks.bulk.trace import Sample, summary
from benchmarks.queue import workers
from tasks.demo.stack import end
from worker.bulk.checkpoint import RunDirectory
from worker.topic.publisher import DEDUPE_PREFIX
from worker.topic.server import running_redis

WINDOWS = ((0.1, 0.3), (0.45, 0.7))
"""Between which shares of its rows the run is killed. The last sitting is long enough to show a leak."""

PAUSE_S = 0.5
"""Up to so long after that, so that the kill hits any moment between two checkpoints."""

SAMPLE_S = 0.25
SLOWEST = 50
"""Rows a second; a sitting that would take longer counts as hung."""

RESULTS_KEPT = 20_000
"""Length of the result topic: so short that Redis is full of results early and whatever else grows is seen."""


def moments(rows: int, generator: random.Random) -> list[int]:
    """Return after how many rows the run is killed."""
    return [round(generator.uniform(low, high) * rows) for low, high in WINDOWS]


class KilledRun:
    """One run in several sittings.

    Args:
        url: A Redis with a worker and no other bulk run.
        directory: Where everything is written.
        rows: Rows of the corpus.
        generator: Of the moments of the kills.
    """

    def __init__(self, url: str, directory: Path, rows: int, generator: random.Random):
        self._url, self._rows, self._generator = url, rows, generator
        self._redis: Redis = Redis.from_url(url, decode_responses=True, protocol=2)
        self._log = directory / "bulk.log"
        self.corpus, self.out, self.html = directory / "corpus.jsonl", directory / "out.jsonl", directory / "run.html"
        self.kills: list[int] = []
        self.sittings: list[list[Sample]] = []

    def go(self) -> dict[str, Any]:
        """Run it to its end and return what became of it."""
        admitted = write_corpus(self.corpus, self._rows)
        begun = time.monotonic()
        for moment in [*moments(self._rows, self._generator), None]:
            self.sittings.append(self._sitting(moment))
        seconds = time.monotonic() - begun
        found = compare(self._rows, records_in(self.out))
        published = sum(1 for _ in self._redis.scan_iter(f"{DEDUPE_PREFIX}*", count=5000))
        self._redis.close()
        checkpoint = RunDirectory(self.out).load()
        reading_and_writing = alone(self.corpus, self.out)
        traced = summary(self.sittings)
        return {
            **found.report(),
            "killed_after_rows": self.kills,
            "published_twice_or_never": abs(published - admitted),
            "jobs_sent_again": sum(checkpoint.again.values()) if checkpoint else None,
            "ok": found.is_whole and published == admitted and len(self.kills) == len(WINDOWS),
            "seconds": round(seconds, 1),
            "rows_per_s": round(self._rows / seconds, 1),
            "rows_per_s_without_screening": round(reading_and_writing, 1),
            "share_reading_and_writing": round(traced.get("steady_rows_per_s", 0.0) / reading_and_writing, 4),
            **traced,
        }

    def _sitting(self, moment: int | None) -> list[Sample]:
        """Start or resume the run; kill it some time after so many rows, or see it to its end.

        Raises:
            RuntimeError: It failed, or did not end.
        """
        process = start(self._url, self._log, "run", self.corpus, "--out", self.out, "--html", self.html, "--resume")
        samples: list[Sample] = []
        deadline = time.monotonic() + 120 + self._rows / SLOWEST
        try:
            while process.poll() is None and time.monotonic() < deadline:
                now = sample(self._redis, process.pid)
                if now is not None:
                    samples.append(now)
                    if moment is not None and now.rows >= moment:
                        self._kill(process, now.rows)
                        return samples
                time.sleep(SAMPLE_S)
            if process.poll() != 0:
                raise RuntimeError(f"bulk ended with {process.poll()}:\n{end_of(self._log)}")
        finally:
            end(process)
        return samples

    def _kill(self, process: "subprocess.Popen[bytes]", rows: int) -> None:
        time.sleep(self._generator.uniform(0, PAUSE_S))
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.wait()
            self.kills.append(rows)


def measure(directory: Path, rows: int, seed: int, html: Path | None) -> dict[str, Any]:
    """Run a corpus of so many rows; the report of the run goes to ``html``."""
    with running_redis() as url, workers(url, environment={"FIREWALL_RESULTS_MAXLEN": str(RESULTS_KEPT)}):
        run = KilledRun(url, directory, rows, random.Random(seed))
        found = run.go()
    if html is not None:
        shutil.copyfile(run.html, html)
    return {"seed": seed, **found}
