"""Figures of a process and of Redis over time, and whether they grow."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

WARM_UP = 0.1
"""Share of a trace left out: imports, and the first rows on their way."""


@dataclass(frozen=True)
class Sample:
    """One moment of a run.

    Attributes:
        at_s: ``time.monotonic()``.
        rows: Rows written.
        rss_mb: Resident memory of the bulk process.
        cpu_s: Processor time it has used.
        redis_mb: ``used_memory`` of Redis.
        jobs: Bulk jobs in the queue or in the worker's hands.
    """

    at_s: float
    rows: int
    rss_mb: float
    cpu_s: float
    redis_mb: float
    jobs: int


def growth(at_s: Sequence[float], values: Sequence[float]) -> dict[str, float]:
    """Return the means of the first and the last quarter, the maximum, and the slope by least squares, a minute.

    Args:
        at_s: Seconds, ascending, at least four.
        values: One for each.
    """
    quarter = len(values) // 4
    slope = float(np.polyfit(np.asarray(at_s) - at_s[0], np.asarray(values), 1)[0])
    return {
        "first_quarter": round(float(np.mean(values[:quarter])), 1),
        "last_quarter": round(float(np.mean(values[-quarter:])), 1),
        "max": round(max(values), 1),
        "slope_per_minute": round(60 * slope, 2),
    }


def summary(sittings: Sequence[Sequence[Sample]]) -> dict[str, Any]:
    """Return what the longest sitting of a run shows, and the maxima of all; nothing of a trace that is too short.

    What comes after a sitting's last row is left out: the drawing of the report takes more memory than the run.
    """
    working = [[sample for sample in sitting if sample.rows < sitting[-1].rows] for sitting in sittings]
    every = [sample for sitting in working for sample in sitting]
    longest = max(working, key=len)
    steady = longest[int(WARM_UP * len(longest)) :]
    if len(steady) < 4:
        return {}
    times, first, last = [sample.at_s for sample in steady], steady[0], steady[-1]
    seconds = last.at_s - first.at_s
    return {
        "seconds_of_longest_sitting": round(longest[-1].at_s - longest[0].at_s, 1),
        "steady_rows_per_s": round((last.rows - first.rows) / seconds, 1),
        "process_cores": round((last.cpu_s - first.cpu_s) / seconds, 3),
        "rss_mb": growth(times, [sample.rss_mb for sample in steady]),
        "rss_mb_max_of_all_sittings": round(max(sample.rss_mb for sample in every), 1),
        "redis_mb": growth(times, [sample.redis_mb for sample in steady]),
        "redis_mb_max_of_all_sittings": round(max(sample.redis_mb for sample in every), 1),
        "jobs_waiting_max": max(sample.jobs for sample in every),
    }


def processor_seconds(pid: int) -> float:
    """Return the processor time a process has used.

    Raises:
        OSError: It is gone.
    """
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
