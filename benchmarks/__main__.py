"""``make bench``: measure, print the table of docs/benchmarks.md, and write benchmarks/latest.json."""

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks import engine, machine, startup, worker
from benchmarks.report import table
from worker.settings import load_settings

LATEST = Path("benchmarks/latest.json")


def main() -> None:
    """Run the sections that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer texts and rounds; five minutes at most")
    parser.add_argument("--texts", type=int, help="texts of the mixed load")
    parser.add_argument("--rounds", type=int, help="interleaved rounds")
    parser.add_argument("--only", nargs="*", choices=["engine", "worker", "startup", "scaling"], help="sections")
    parser.add_argument("--no-peers", action="store_true", help="leave out the comparisons")
    chosen = parser.parse_args()
    quick = chosen.quick or os.environ.get("QUICK", "") not in ("", "0")
    texts, rounds = chosen.texts or (100 if quick else 240), chosen.rounds or (2 if quick else 3)
    sections = chosen.only or ["engine", "worker", "startup", "scaling"]
    settings = load_settings()
    start = time.perf_counter()
    report: dict[str, Any] = {"ratios": {}, "absolute": {}, "machine": machine.describe()}

    def add(name: str, part: dict[str, Any]) -> None:
        report["ratios"] |= part.pop("ratios", {})
        report["absolute"][name] = part.pop("absolute", part)
        print(f"{name}: done after {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)

    if "engine" in sections:
        tokens = 1024 if quick else 2048
        budget = 60.0 if quick else 140.0
        found = engine.measure(settings, texts=texts // 2, rounds=rounds, smollm2_tokens=tokens, budget_s=budget)
        add("engine", found)
    if "worker" in sections:
        items = 60 if quick else 200
        budget, peers = 90.0 if quick else 240.0, not chosen.no_peers
        found = worker.measure(settings, texts=texts, rounds=rounds, latency_items=items, peers=peers, budget_s=budget)
        add("worker", found)
    if "startup" in sections:
        add("startup", startup.measure(repeats=2 if quick else 3))
    if "scaling" in sections:
        add("scaling", worker.scaling(texts=texts // 2, rounds=1))
        add("length", startup.by_length(settings, repeats=rounds))
    report["machine"]["seconds"] = round(time.perf_counter() - start)
    report["machine"]["texts"], report["machine"]["rounds"] = texts, rounds
    LATEST.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(table(report))


if __name__ == "__main__":
    main()
