"""Recalibration: the chosen false-alarm rate holds on the operator's own traffic, and nothing else changes."""

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom, ks_2samp, kstest, norm

from schemas import SIGNALS, SignalScore
from tests.unit.fakes import make_codebook
from worker.codebook.format import TRAFFIC, load_codebook, save_codebook
from worker.codebook.splines import fit_survival
from worker.errors import InvalidField
from worker.fitting.dataset import LabelledText
from worker.fitting.measure import ks_uniform
from worker.fitting.recalibrate import MIN_TEXTS, check, expected_rate, halves, replace_benign
from worker.fitting.recalibrate_report import render
from worker.screening.policy import Policy
from worker.screening.scoring import Scorer
from worker.screening.screener import Finding

BUDGETS = (0.05, 0.01)


def traffic(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Texts of many lengths that look more like attacks than the calibration sample did, the longer the more."""
    random = np.random.default_rng(seed)
    tokens = np.minimum(3 + random.lognormal(4, 1.3, count), 20_000).astype(np.int32)
    scores = random.normal(size=(count, len(SIGNALS))) * 1.7 + 2 + np.log(tokens[:, None]) / 3
    return scores.astype(np.float32), tokens


def p_values(codebook: object, seed: int, count: int) -> np.ndarray:
    found: np.ndarray = Scorer(codebook, Policy()).score(*traffic(seed, count)).p_value  # type: ignore[arg-type]
    return found


@pytest.mark.parametrize("count", [250, 500, 2000])
def test_chosen_rate_holds_on_the_traffic_on_average_over_samples(count: int) -> None:
    rounds, fresh = 40, 1000
    flagged = np.zeros(len(BUDGETS))
    for seed in range(rounds):
        found = p_values(replace_benign(make_codebook(), *traffic(seed, count), {}), 1000 + seed, fresh)
        flagged += [(found < budget).mean() / rounds for budget in BUDGETS]
    for budget, realised in zip(BUDGETS, flagged, strict=True):
        # A conformal p-value is at most 2 / (n + 1) too careful; a rate's scatter comes from both samples.
        scatter = 4 * np.sqrt(budget / rounds * (1 / count + 1 / fresh))
        assert budget - 2 / (count + 1) - scatter < realised < budget + scatter


def test_p_values_of_other_texts_are_uniform_in_every_stratum() -> None:
    book = replace_benign(make_codebook(), *traffic(1, 8000), {})
    scores, tokens = traffic(2, 4000)
    found = Scorer(book, Policy()).score(scores, tokens).p_value
    strata, calibrated = book.stratum_of(tokens), np.bincount(book.stratum_of(book.benign_tokens))
    assert strata.max() >= 3
    for stratum, size in enumerate(calibrated):
        p = ks_uniform(found[strata == stratum], int(size))
        assert p is not None
        assert p > 0.01


@pytest.mark.parametrize("count", [250, 500])
def test_small_samples_have_few_strata(count: int) -> None:
    book = replace_benign(make_codebook(strata=(24,)), *traffic(1, count), {})
    assert len(book.header.strata) <= count // 300
    assert len(book.distributions) == len(book.header.strata) + 1


def test_only_the_benign_sample_is_replaced(tmp_path: Path) -> None:
    before = make_codebook(strata=(24,))
    scores, tokens = traffic(1, 400)
    after = replace_benign(before, scores, tokens, {"texts": 400})
    assert (after.basis, after.probe, after.adapter) == (before.basis, before.probe, before.adapter)
    assert after.golden_scores is before.golden_scores
    assert after.header.model == before.header.model
    np.testing.assert_array_equal(after.benign_scores, scores)
    assert (after.header.groups, set(after.benign_groups.tolist())) == ((TRAFFIC,), {0})
    assert (before.header.own_traffic, after.header.own_traffic) == (False, True)
    assert after.header.provenance == {"rows": 1200, "benign_calibration": 400, "recalibrated": {"texts": 400}}
    assert before.header.provenance == {"rows": 1200}
    save_codebook(after, tmp_path / "after")
    np.testing.assert_array_equal(load_codebook(tmp_path / "after").benign_tokens, tokens)


def test_recalibrating_again_starts_from_fine_strata() -> None:
    once = replace_benign(make_codebook(), *traffic(1, 250), {})
    assert once.header.strata == ()
    assert len(replace_benign(once, *traffic(2, 8000), {}).header.strata) >= 3


def test_check_shows_too_many_false_alarms_before_and_the_chosen_rate_after() -> None:
    scores, tokens = traffic(3, 4000)
    measured = check(make_codebook(), scores, tokens, np.arange(4000) % 2 == 0)
    assert (measured["calibrated_on"], measured["measured_on"]) == (2000, 2000)
    found = measured["false_alarms"]["notice"]
    assert found["budget"] == 0.01
    assert found["before"]["low"] > 0.2
    assert binom.cdf(found["after"]["rate"] * 2000, 2000, 0.01) < 0.999
    assert sum(stratum["texts"] for stratum in measured["uniform"]) == 2000
    assert all(stratum["ks_p"] > 0.01 for stratum in measured["uniform"])


@pytest.mark.parametrize("count", [250, 500, 2000])
def test_realised_rates_scatter_as_expected(count: int) -> None:
    low, high = expected_rate(0.01, count)
    assert low < 0.01 < high
    random = np.random.default_rng(count)
    inside = 0
    for _ in range(100):
        spline = fit_survival(random.normal(size=count))
        scores = np.linspace(1, 6, 2000)
        threshold = scores[spline.log_survival(scores) < np.log(0.01)][0]
        inside += bool(low <= norm.sf(threshold) <= high)
    assert inside >= 88


def test_check_measures_on_the_other_half_only() -> None:
    scores, tokens = traffic(3, 1000)
    first = np.arange(1000) < 500
    shifted = scores + np.where(first, 0, 50).astype(np.float32)[:, None]
    measured = check(make_codebook(), shifted, tokens, first)
    assert measured["false_alarms"]["critical"]["after"]["rate"] == 1.0
    assert measured["uniform"][0]["ks_p"] < 1e-6


def test_halves_are_halves_and_the_same_in_any_order() -> None:
    texts = [f"text {n}" for n in range(401)]
    first = halves(texts)
    assert first.sum() == 200
    np.testing.assert_array_equal(halves(texts[::-1]), first[::-1])


def test_copies_of_a_text_are_in_one_half() -> None:
    texts = [f"text {n % 250}" for n in range(1000)]
    first = halves(texts)
    assert len({(text, bool(side)) for text, side in zip(texts, first, strict=True)}) == 250


def test_too_few_distinct_texts_are_refused_with_numbers() -> None:
    with pytest.raises(InvalidField, match=f"only 199 distinct benign texts, {MIN_TEXTS} are needed"):
        halves([f"text {n % 199}" for n in range(1000)])


@pytest.mark.parametrize("count", [5, 30, 300, 3000])
@pytest.mark.parametrize("shift", [0.0, 0.05])
def test_ks_from_an_endless_sample_is_the_one_of_one_sample(count: int, shift: float) -> None:
    values = np.clip(np.random.default_rng(count).uniform(size=count) + shift, 0, 1)
    assert ks_uniform(values, 10**9) == pytest.approx(kstest(values, "uniform").pvalue, abs=0.02)


def test_ks_from_a_small_sample_is_the_one_of_two() -> None:
    random = np.random.default_rng(1)
    sample, fresh = random.normal(size=500), random.normal(size=400) + 0.1
    p = (1 + (sample[None, :] >= fresh[:, None]).sum(axis=1)) / 501
    assert ks_uniform(p, 500) == pytest.approx(ks_2samp(sample, fresh, method="asymp").pvalue, abs=0.03)


def test_ks_of_nothing_and_of_a_perfect_sample() -> None:
    assert ks_uniform(np.array([]), 100) is None
    assert ks_uniform((np.arange(1000) + 0.5) / 1000, 10**9) == 1.0


def screened_rows(count: int, label: int = 0) -> list[tuple[LabelledText, Finding]]:
    scores, tokens = traffic(5, count)
    return [
        (
            LabelledText(str(n), "t", label, "benign", "own"),
            Finding(
                statistic=0.0,
                p_value=0.5,
                extrapolated=False,
                severity=None,
                leading="jailbreak",
                signals=[
                    SignalScore(signal=signal, score=float(score), p_value=0.5, extrapolated=False)
                    for signal, score in zip(SIGNALS, scores[n], strict=True)
                ],
                evidence=[],
                tokens=int(tokens[n]),
                windows=1,
                policy=Policy(),
            ),
        )
        for n in range(count)
    ]


def test_report_shows_half_and_a_small_sample_of_sets_that_are_large_enough() -> None:
    sets = {"large": screened_rows(1500) + screened_rows(400, label=1), "small": screened_rows(300)}
    rows = [line.split("|")[1:-1] for line in render(make_codebook(), sets) if line.startswith("| large")]
    assert not any(line.startswith("| small") for line in render(make_codebook(), sets))
    assert [int(row[1]) + int(row[2]) for row in rows] == [1500, 1500]
    assert [int(row[1]) for row in rows][1] == 500
    for row in rows:
        before, after, mean = (float(cell.split("%")[0]) for cell in row[3:6])
        assert before > 20
        assert after < 3
        assert 0.4 < mean < 1.4
        assert float(row[7]) > 0.001
