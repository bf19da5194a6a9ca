"""Measures against known values."""

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score

from worker.fitting.measure import auc, bootstrap, rate, summarise, tpr_at, wilson


def scores(*values: float) -> np.ndarray:
    return np.array(values, np.float64)


def test_auc_of_known_scores() -> None:
    assert auc(scores(1, 2, 3, 4), scores(3.5, 5)) == pytest.approx(7 / 8)


def test_ties_count_half() -> None:
    assert auc(scores(1, 1), scores(1, 1)) == 0.5


def test_auc_is_scikit_learns() -> None:
    random = np.random.default_rng(1)
    benign, attack = random.normal(size=300).round(1), (random.normal(size=200) + 1).round(1)
    labels = np.repeat([0, 1], [300, 200])
    assert auc(benign, attack) == pytest.approx(roc_auc_score(labels, np.concatenate([benign, attack])))


@pytest.mark.parametrize(("fpr", "expected"), [(0.0, 0.5), (0.1, 0.75), (0.2, 1.0), (1.0, 1.0)])
def test_detection_at_a_false_alarm_rate(fpr: float, expected: float) -> None:
    benign = np.arange(10.0)  # the two largest are 8 and 9
    assert tpr_at(benign, scores(7.5, 8.5, 9.5, 10.5), fpr) == expected


def test_ties_at_the_threshold_are_not_detected() -> None:
    assert tpr_at(scores(0, 1, 1, 1), scores(1, 1), 0.25) == 0.0


@pytest.mark.parametrize(("hits", "total"), [(0, 10), (1, 100), (50, 100), (99, 100), (10, 10), (0, 1)])
def test_wilson_interval_is_scipys(hits: int, total: int) -> None:
    known = binomtest(hits, total).proportion_ci(0.95, method="wilson")
    assert wilson(hits, total) == pytest.approx((known.low, known.high), abs=1e-12)


def test_no_trials_say_nothing() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
    assert rate(np.array([], np.bool_)) == {"rate": None, "n": 0, "low": 0.0, "high": 1.0}


def test_bootstrap_interval_holds_the_value_and_is_repeatable() -> None:
    random = np.random.default_rng(1)
    benign, attack = random.normal(size=200), random.normal(size=200) + 1
    low, high = bootstrap(auc, benign, attack)
    assert low < auc(benign, attack) < high
    assert bootstrap(auc, benign, attack) == (low, high)


def test_summary_of_four_rows() -> None:
    summary = summarise(
        scores(0.1, 0.2, 3.0, 4.0),
        scores(0.9, 0.004, 0.002, 0.0005),
        np.array([0, 0, 1, 1]),
        {"signal": ["benign", "benign", "jailbreak", "obfuscation"], "source": ["a", "b", "a", ""]},
    )
    assert (summary["rows"], summary["benign"], summary["attack"], summary["auc"]) == (4, 2, 2, 1.0)
    assert summary["false_alarms"]["0.01"]["rate"] == 0.5
    assert summary["detected"]["0.001"]["rate"] == 0.5
    assert summary["by_signal"]["jailbreak"]["flagged"]["rate"] == 1.0
    assert "" not in summary["by_source"]


def test_a_group_with_benign_and_attack_rows_reports_both() -> None:
    summary = summarise(scores(0, 1), scores(0.9, 0.001), np.array([0, 1]), {"source": ["web", "web"]})
    reported = [entry for name, entry in summary["by_source"].items() if name.startswith("web")]
    assert {entry["label"]: entry["flagged"]["rate"] for entry in reported} == {0: 0.0, 1: 1.0}


def test_only_benign_rows_have_no_auc() -> None:
    assert "auc" not in summarise(scores(0, 1), scores(0.5, 0.6), np.array([0, 0]), {})
