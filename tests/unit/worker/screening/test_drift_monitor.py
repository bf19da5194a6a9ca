"""The drift monitor: silent on what the calibration promises, and not on a sustained departure from it."""

from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, kstest

from worker.screening.drift_monitor import (
    BINS,
    CHANCE,
    LEAST_DISTANCE,
    SUSTAINED,
    DriftMonitor,
    Window,
    departure,
    tolerated,
)

ABOVE = 0.01
ENDLESS = 10**9
TEXTS = 2000


def monitor(*, texts: int = TEXTS, calibrated_on: int = 5000, both_ways: bool = False) -> DriftMonitor:
    return DriftMonitor(texts=texts, above=ABOVE, calibrated_on=calibrated_on, both_ways=both_ways)


def unflagged(seed: int, windows: int, power: float = 1.0) -> np.ndarray:
    """P-values over the budget of so many windows; ``power`` over 1 makes them smaller."""
    uniform: np.ndarray = np.random.default_rng(seed).uniform(size=windows * TEXTS)
    return ABOVE + (1 - ABOVE) * uniform**power


def told(watching: DriftMonitor, p_values: Iterable[float]) -> list[Window]:
    return [window for p in p_values if (window := watching.add(float(p))) is not None]


@pytest.mark.parametrize("both_ways", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_uniform_p_values_raise_nothing(both_ways: bool, seed: int) -> None:
    watching = monitor(both_ways=both_ways)
    assert told(watching, unflagged(seed, 10)) == []
    assert watching.last is not None
    assert watching.last.distance < 0.05


@pytest.mark.parametrize(("both_ways", "texts"), [(False, 200), (True, 200), (False, 800), (True, 800)])
def test_a_window_of_uniform_p_values_departs_at_no_more_than_the_stated_rate(both_ways: bool, texts: int) -> None:
    windows = 40_000
    bound = tolerated(texts, ENDLESS, both_ways=both_ways)
    assert bound > LEAST_DISTANCE
    counts = np.random.default_rng(texts).multinomial(texts, [1 / BINS] * BINS, size=windows)
    departed = sum(departure(row.tolist(), both_ways=both_ways)[0] > bound for row in counts)
    assert departed <= binom.ppf(0.9999, windows, CHANCE)
    # Half of it is exceeded often.
    assert sum(departure(row.tolist(), both_ways=both_ways)[0] > bound / 2 for row in counts) > windows / 100


@pytest.mark.parametrize("calibrated_on", [200, 500])
def test_p_values_of_a_small_calibration_sample_depart_at_no_more_than_the_stated_rate(calibrated_on: int) -> None:
    calibrations, texts = 4000, 5000
    random = np.random.default_rng(calibrated_on)
    bound = tolerated(texts, calibrated_on, both_ways=True)
    departed = endless = 0
    for _ in range(calibrations):
        # Where the true shares of the calibration sample's bins scatter, so do those of the p-values.
        borders = np.quantile(random.uniform(size=calibrated_on), np.arange(1, BINS) / BINS)
        counts = random.multinomial(texts, np.diff(borders, prepend=0, append=1))
        distance, _ = departure(counts.tolist(), both_ways=True)
        departed += distance > bound
        endless += distance > tolerated(texts, ENDLESS, both_ways=True)
    assert departed <= binom.ppf(0.9999, calibrations, CHANCE)
    assert endless > 10 * calibrations * CHANCE, "the sample's scatter had to be allowed for"


@pytest.mark.parametrize(("power", "direction"), [(1.3, "smaller"), (1 / 1.3, "larger")])
def test_a_sustained_departure_is_told_once(power: float, direction: str) -> None:
    watching = monitor(both_ways=True)
    p_values = unflagged(1, 10, power)
    assert told(watching, p_values[: SUSTAINED * TEXTS - 1]) == []
    [window] = told(watching, p_values[SUSTAINED * TEXTS - 1 :])
    assert window.direction == direction
    assert window.departs
    assert sum(window.counts) == TEXTS
    assert (window.counts[0] > window.counts[-1]) == (direction == "smaller")
    assert watching.drifted


def test_a_careful_calibration_may_be_as_careful_as_it_likes() -> None:
    assert told(monitor(), unflagged(1, 10, 0.2)) == []
    assert told(monitor(), np.ones(10 * TEXTS)) == []
    assert len(told(monitor(both_ways=True), np.ones(10 * TEXTS))) == 1
    # Too many small values among very large ones are no drift as long as no share is over its promise.
    mixed = np.where(np.arange(10 * TEXTS) % 20 == 0, 0.02, 1.0)
    assert len(told(monitor(), mixed)) == 0
    assert len(told(monitor(), np.where(np.arange(10 * TEXTS) % 5 == 0, 0.02, 1.0))) == 1


def test_a_certain_departure_too_slight_to_matter_is_none() -> None:
    watching = DriftMonitor(texts=200_000, above=ABOVE, calibrated_on=ENDLESS, both_ways=True)
    uniform = np.random.default_rng(3).uniform(size=SUSTAINED * 200_000)
    assert told(watching, ABOVE + (1 - ABOVE) * uniform**1.08) == []
    assert watching.last is not None
    assert 0.02 < watching.last.distance < LEAST_DISTANCE


def test_the_least_distance_is_the_false_alarm_rate_it_says() -> None:
    power = next(a for a in np.linspace(1, 0.5, 5001) if a ** (a / (1 - a + 1e-12)) - a ** (1 / (1 - a + 1e-12)) > 0.05)
    assert 0.01**power == pytest.approx(0.018, abs=0.0005)


def test_a_departure_shorter_than_sustained_is_none() -> None:
    parts = [unflagged(seed, SUSTAINED - 1 if seed % 2 else 1, 1.5 if seed % 2 else 1.0) for seed in range(20)]
    assert told(monitor(), np.concatenate(parts)) == []


def test_flagged_texts_do_not_count() -> None:
    watching = monitor()
    attacks = np.full(SUSTAINED * TEXTS * 3, ABOVE / 2)
    assert told(watching, attacks) == []
    assert (watching.counted, watching.last) == (0, None)
    benign = unflagged(2, SUSTAINED + 1)
    shuffled = np.random.default_rng(1).permutation(np.concatenate([attacks[: len(benign)], benign]))
    assert told(watching, shuffled) == []
    assert watching.last is not None
    assert sum(watching.last.counts) == TEXTS
    assert watching.last.flagged > TEXTS / 2


def test_the_budget_itself_is_not_flagged() -> None:
    watching = monitor()
    watching.add(ABOVE)
    watching.add(np.nextafter(ABOVE, 0))
    assert watching.counted == 1


def test_it_is_silent_until_it_has_recovered() -> None:
    watching = monitor()
    drifted, benign = unflagged(1, 1, 1.5), unflagged(2, 1)
    assert len(told(watching, np.tile(drifted, SUSTAINED))) == 1
    assert told(watching, np.tile(np.concatenate([benign] * (SUSTAINED - 1) + [drifted]), 5)) == []
    assert watching.drifted
    assert told(watching, np.tile(benign, SUSTAINED)) == []
    assert not watching.drifted
    assert told(watching, np.tile(drifted, SUSTAINED - 1)) == []
    assert len(told(watching, drifted)) == 1


def test_what_nobody_heard_is_said_again_at_the_next_window_that_departs() -> None:
    watching = monitor()
    drifted, benign = unflagged(1, 1, 1.5), unflagged(2, 1)
    told(watching, np.tile(drifted, SUSTAINED))
    watching.unsaid()
    assert len(told(watching, drifted)) == 1
    watching.unsaid()
    assert told(watching, np.concatenate([benign, drifted])) == []


@given(st.lists(st.integers(0, 50), min_size=BINS, max_size=BINS).filter(any))
def test_the_distance_is_that_of_kolmogorov_and_smirnov_at_the_borders(counts: list[int]) -> None:
    # Values at the upper end of their bins: there the shares below the borders are those of the bins.
    values = np.repeat(np.arange(1, BINS + 1) / BINS - 1e-12, counts)
    smaller, larger = (
        max(0.0, float(kstest(values, "uniform", alternative=side).statistic)) for side in ("greater", "less")
    )
    assert departure(counts, both_ways=False)[0] == pytest.approx(smaller, abs=1e-9)
    distance, direction = departure(counts, both_ways=True)
    # The other side's distance lies just before a border, and is one bin larger.
    assert max(smaller, larger) - 1 / BINS - 1e-9 <= distance <= max(smaller, larger) + 1e-9
    assert direction in ("smaller", "larger")


@given(st.lists(st.floats(0, 1), max_size=300))
def test_every_text_is_counted_in_one_place(p_values: list[float]) -> None:
    watching = monitor(texts=7)
    windows = []
    for p in p_values:
        watching.add(p)
        if watching.counted == 0 and watching.last is not None and p >= ABOVE:
            windows.append(watching.last)
    counted = sum(sum(window.counts) for window in windows) + watching.counted
    assert counted == sum(p >= ABOVE for p in p_values)
