"""``make bench-bulk``: bulk screening on a corpus made for it, through a Redis and a worker on loopback.

Rows in and out of a run that is killed twice, its memory, what interactive jobs wait meanwhile, rows a second beside
the engine alone, and recalibration. Prints a table, and one JSON object as the last line.
"""

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.bulk import killed, latency, speed, traffic
from benchmarks.bulk.table import table
from worker.screening.backends import choose_backend
from worker.settings import load_settings

SECTIONS = ("killed", "latency", "speed", "recalibration")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print; the exit status is 0 only if no row was lost, doubled or screened twice."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bulk", description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000, help="rows of the corpus; default 200,000: ten minutes")
    parser.add_argument("--jobs", type=int, default=150, help="one-item jobs of each latency; default 150")
    parser.add_argument("--texts", type=int, default=2000, help="texts of a round beside the engine; default 2,000")
    parser.add_argument("--rounds", type=int, default=3, help="rounds beside the engine; default 3")
    parser.add_argument("--benign", type=int, default=4000, help="texts of the recalibration; default 4,000")
    parser.add_argument("--seed", type=int, help="of the moments of the kills; by default another each time")
    parser.add_argument("--html", type=Path, help="where the killed run's report goes")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=SECTIONS, help="sections")
    chosen = parser.parse_args(arguments)
    if chosen.rows < 1000:
        parser.error("--rows: at least 1,000, or there is no time for two kills")
    report: dict[str, Any] = {"machine": machine.describe()}
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="bench-bulk-") as directory:
        for section in SECTIONS:
            if section in chosen.only:
                report[section] = measure(section, Path(directory), chosen)
                print(f"{section}: done after {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
    print(table(report))
    print(json.dumps(report), flush=True)
    sys.exit(not report.get("killed", {"ok": True})["ok"])


def measure(section: str, directory: Path, chosen: argparse.Namespace) -> dict[str, Any]:
    """Run one section."""
    settings = load_settings()
    if section == "killed":
        seed = random.randrange(10**6) if chosen.seed is None else chosen.seed
        return killed.measure(directory, chosen.rows, seed, chosen.html)
    if section == "recalibration":
        return traffic.measure(settings, chosen.benign)
    backend = choose_backend(settings)
    if section == "latency":
        return latency.measure(directory, backend, settings.batch_tokens, chosen.jobs)
    return speed.measure(
        directory, backend, settings.batch_tokens, texts=chosen.texts, rounds=chosen.rounds, budget_s=400.0
    )


if __name__ == "__main__":
    main()
