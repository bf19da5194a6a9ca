"""Do a policy's p-values still mean what the calibration promises? Counts them; knows no clock, queue or text.

On benign traffic that is like the calibration sample, p-values are uniform. Texts under the policy's widest budget are
left out: attacks are not drift. The others are uniform on what remains of the interval, and their distance from that is
the one of Kolmogorov and Smirnov, taken at the borders of equal bins.

Which departures count depends on the codebook. A shipped one is careful (ADR 3): its p-values hold for the worst of
many sources, so that on most traffic they are far larger than uniform, by design. There only an excess of small ones
breaks the promise. After ``recalibrate`` on the traffic itself the p-values are exact, and both directions count.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import log, sqrt
from typing import Literal

BINS = 20

SUSTAINED = 3
"""Windows in a row that make a departure, and as many that end it."""

LEAST_DISTANCE = 0.05
"""Distance below which a departure does not matter, however certain it is. Where p-values are a power of uniform ones,
it is a false-alarm rate of 1.8 % instead of 1 %."""

CHANCE = 0.001
"""Probability that a window departs by chance alone."""


@dataclass(frozen=True, slots=True)
class Window:
    """So many texts, compared with what the calibration promises.

    Attributes:
        counts: Texts in each bin, the smallest p-values first.
        flagged: Texts left out meanwhile.
        direction: Whether there are too many small p-values or too many large ones.
        distance: Largest distance between the shares below a border, found and expected.
        tolerated: Distance up to which the window does not depart.
    """

    counts: tuple[int, ...]
    flagged: int
    direction: Literal["smaller", "larger"]
    distance: float
    tolerated: float

    @property
    def departs(self) -> bool:
        """Whether the distance is more than tolerated."""
        return self.distance > self.tolerated


class DriftMonitor:
    """Watches the p-values of one policy, window by window. Not safe for threads.

    Args:
        texts: Texts of a window, those that are flagged not counted.
        above: The policy's widest budget; texts with a smaller p-value are flagged.
        calibrated_on: Texts of the calibration sample.
        both_ways: Whether too many large p-values count as well.
    """

    def __init__(self, *, texts: int, above: float, calibrated_on: int, both_ways: bool):
        self.texts, self.above = texts, above
        self.tolerated = tolerated(texts, calibrated_on, both_ways=both_ways)
        self._both_ways = both_ways
        self._counts, self._counted, self._flagged = [0] * BINS, 0, 0
        self._streak = 0
        self.drifted = False
        self.last: Window | None = None

    @property
    def counted(self) -> int:
        """Texts of the window that is being filled."""
        return self._counted

    def add(self, p_value: float) -> Window | None:
        """Count a text; return the window that makes a departure a sustained one.

        That is said once. The departure is over, and another would be said, after as many windows without one.
        """
        if p_value < self.above:
            self._flagged += 1
            return None
        self._counts[min(BINS - 1, int((p_value - self.above) / (1 - self.above) * BINS))] += 1
        self._counted += 1
        return self._close() if self._counted == self.texts else None

    def unsaid(self) -> None:
        """Say the departure again at the next window that departs; nobody has heard of it."""
        self.drifted, self._streak = False, SUSTAINED - 1

    def _close(self) -> Window | None:
        distance, direction = departure(self._counts, both_ways=self._both_ways)
        self.last = window = Window(tuple(self._counts), self._flagged, direction, distance, self.tolerated)
        self._counts, self._counted, self._flagged = [0] * BINS, 0, 0
        self._streak = 0 if window.departs == self.drifted else self._streak + 1
        if self._streak < SUSTAINED:
            return None
        self.drifted, self._streak = not self.drifted, 0
        return window if self.drifted else None


def departure(counts: Sequence[int], *, both_ways: bool) -> tuple[float, Literal["smaller", "larger"]]:
    """Return the distance of p-values from uniform, and on which side it lies.

    Args:
        counts: Values in each of equal bins, the smallest first; together at least one.
        both_ways: Whether too many large values count as well.
    """
    total = sum(counts)
    excess = [below / total - border / len(counts) for border, below in enumerate(accumulate(counts[:-1]), start=1)]
    smaller, larger = max(0.0, *excess), max(0.0, *(-share for share in excess))
    return (larger, "larger") if both_ways and larger > smaller else (smaller, "smaller")


def tolerated(texts: int, calibrated_on: int, *, both_ways: bool) -> float:
    """Return the distance that a window of ``texts`` may have.

    Chance exceeds it in ``CHANCE`` of windows at most: the inequality of Dvoretzky, Kiefer and Wolfowitz, with the
    constant of Massart (Ann. Probab. 18, 1990). P-values inherit the scatter of their calibration sample, which is
    the same in every window: the test is the one of two samples, so that a small sample does not drift for ever.
    """
    effective = texts * calibrated_on / (texts + calibrated_on)
    return max(LEAST_DISTANCE, sqrt(log((1 + both_ways) / CHANCE) / (2 * effective)))
