"""``alknet-firewall bulk`` as a child process, and how far it is."""

import os
import subprocess
import sys
import time
from pathlib import Path

from redis import Redis

from benchmarks.bulk.trace import Sample, processor_seconds
from benchmarks.machine import memory
from schemas.names import QUEUE_BULK
from tasks.bulk.registry import TAKEN, Registry


def start(url: str, log: Path, *arguments: str | Path) -> "subprocess.Popen[bytes]":
    """Start the command on a Redis; what it prints is appended to a file."""
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "tasks", "bulk", *map(str, arguments)],
            env={**os.environ, "FIREWALL_REDIS_URL": url},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def rows_written(redis: "Redis") -> int:
    """Return the rows that the one run on this Redis has reported."""
    return max((run.rows for run in Registry(redis).runs()), default=0)


def sample(redis: "Redis", pid: int) -> Sample | None:
    """Return the moment, or None if the process is gone."""
    try:
        rss, cpu = memory(pid)["rss_mb"], processor_seconds(pid)
    except (OSError, KeyError, IndexError):
        return None
    jobs = int(redis.llen(QUEUE_BULK)) + sum(int(redis.hlen(key)) for key in TAKEN)
    used = int(redis.info("memory")["used_memory"]) / 2**20
    return Sample(time.monotonic(), rows_written(redis), rss, cpu, used, jobs)


def end_of(log: Path) -> str:
    """Return the last lines that the command printed."""
    return log.read_text(encoding="utf-8", errors="replace")[-2000:]
