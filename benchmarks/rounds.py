"""Interleaved rounds: a busy moment of the machine hits everything that is compared alike."""

import gc
import statistics
import sys
import time
from collections.abc import Callable, Mapping


def interleaved(runs: Mapping[str, Callable[[], float]], rounds: int, budget_s: float) -> dict[str, list[float]]:
    """Call every run once a round, in order, and return their figures by name.

    Args:
        runs: Each returns its figure.
        rounds: At most; the first always runs.
        budget_s: Seconds after which no further round is begun that would not end within them.
    """
    found: dict[str, list[float]] = {name: [] for name in runs}
    start = time.perf_counter()
    for number in range(rounds):
        if number and (time.perf_counter() - start) * (number + 1) / number > budget_s:
            print(f"  {number} of {rounds} rounds: the machine is slow or busy", file=sys.stderr, flush=True)
            break
        for name, run in runs.items():
            gc.collect()
            found[name].append(run())
            print(f"  round {number + 1}/{rounds}  {name:32} {found[name][-1]:10.2f}", file=sys.stderr, flush=True)
    return found


def ratio(above: list[float], below: list[float]) -> float:
    """Return the median of the rounds' ratios."""
    return round(statistics.median(a / b for a, b in zip(above, below, strict=True)), 3)


def median(figures: list[float]) -> float:
    """Return the median, with four digits."""
    return float(f"{statistics.median(figures):.4g}")
