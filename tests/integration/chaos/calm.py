"""``python -m tests.integration.chaos.calm --minutes N``: full load without faults; does speed or memory drift?

The last line is one JSON object; the exit status is 0 only with nothing lost or doubled. Speed and memory are
figures of one machine: compare those of one run.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from tests.integration.chaos.broker import breakable_redis
from tests.integration.chaos.fleet import Fleet
from tests.integration.chaos.ledger import Ledger

BACKLOG = 200
"""Results outstanding at any time, so that the worker never waits for work."""

SAMPLE_S = 5.0
WARM_S = 30.0
"""Samples of the first seconds are left out: caches and allocators fill."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    seconds = 60 * parser.parse_args().minutes
    samples: list[tuple[float, float, int]] = []
    with (
        tempfile.TemporaryDirectory() as scratch,
        breakable_redis() as broker,
        Fleet(broker.url, Path(scratch)) as fleet,
    ):
        ledger, member = Ledger(broker.url), fleet.started(CHAOS_FORWARD_S="0.002")
        begun = sampled = time.monotonic()
        while (now := time.monotonic()) - begun < seconds:
            while ledger.missing < BACKLOG:
                ledger.send()
            ledger.collect(block_ms=20)
            if now - sampled >= SAMPLE_S:
                sampled = now
                samples.append((now - begun, member.resident_mb, ledger.count.results))
        count = ledger.settle(60)
    steady = np.array([sample for sample in samples if sample[0] >= WARM_S])
    third = max(2, len(steady) // 3)
    speeds = [
        float((part[-1, 2] - part[0, 2]) / (part[-1, 0] - part[0, 0])) for part in (steady[:third], steady[-third:])
    ]
    figures = {
        **vars(count),
        "results_per_s_first_third": round(speeds[0], 1),
        "results_per_s_last_third": round(speeds[1], 1),
        "speed_ratio": round(speeds[1] / speeds[0], 3),
        "rss_mb_first": round(float(steady[0, 1]), 1),
        "rss_mb_last": round(float(steady[-1, 1]), 1),
        "rss_slope_mb_per_hour": round(float(np.polyfit(steady[:, 0], steady[:, 1], 1)[0]) * 3600, 1),
    }
    sys.stdout.write(json.dumps(figures) + "\n")
    return 0 if count.kept else 1


if __name__ == "__main__":
    sys.exit(main())
