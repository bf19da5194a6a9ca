"""The document's p-value means what it says: the share of benign documents that score so high."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import binom, norm

from tests.unit.fakes import make_codebook
from worker.screening.policy import Policy
from worker.screening.scoring import Scorer, largest_by_document

FRESH = 4000


def benign(seed: int, count: int, columns: int = 6, *, correlated: bool = False) -> np.ndarray:
    random = np.random.default_rng(seed)
    own = random.normal(size=(count, columns))
    return (own * 0.3 + random.normal(size=(count, 1)) if correlated else own).astype(np.float32)


def false_alarms(scorer: Scorer, scores: np.ndarray, tokens: np.ndarray, alpha: float) -> int:
    return int((scorer.score(scores, tokens).p_value <= alpha).sum())


@pytest.mark.parametrize("alpha", [0.05, 0.01])
@pytest.mark.parametrize("correlated", [False, True])
@pytest.mark.parametrize("signals", [1, 2, 6])
def test_false_alarm_rate_is_the_budget_whatever_the_signals(alpha: float, correlated: bool, signals: int) -> None:
    names = make_codebook().header.signals[:signals]
    sample = benign(1, 20_000, signals, correlated=correlated)
    alike = np.full(len(sample), 20, np.int32)  # what length does is another test's matter
    scorer = Scorer(make_codebook(benign_scores=sample, benign_tokens=alike, signals=names), Policy(signals=names))
    hits = false_alarms(scorer, benign(2, FRESH, signals, correlated=correlated), np.full(FRESH, 20, np.int32), alpha)
    low, high = binom.interval(0.999, FRESH, alpha)
    assert low <= hits <= high


def test_false_alarm_rate_holds_in_every_length_stratum() -> None:
    random = np.random.default_rng(3)
    tokens = random.integers(1, 60, 20_000).astype(np.int32)
    long = (tokens >= 30)[:, None]
    scores = (random.normal(size=(20_000, 6)) + 3 * long).astype(np.float32)
    tokens[long[:, 0]] = 40  # the last stratum's median
    scorer = Scorer(make_codebook(benign_scores=scores, benign_tokens=tokens, strata=(30,)), Policy())
    low, high = binom.interval(0.999, FRESH, 0.05)
    for length, shift in ((10, 0), (40, 3)):
        fresh = (random.normal(size=(FRESH, 6)) + shift).astype(np.float32)
        assert low <= false_alarms(scorer, fresh, np.full(FRESH, length, np.int32), 0.05) <= high


def test_a_higher_logit_is_never_less_suspicious() -> None:
    scorer = Scorer(make_codebook(), Policy())
    scores = np.zeros((200, 6), np.float32)
    scores[:, 1] = np.linspace(-5, 50, 200)
    found = scorer.score(scores, np.full(200, 20, np.int32))
    assert (np.diff(found.p_value) <= 0).all()
    assert (np.diff(found.statistic) >= 0).all()


def test_signal_outside_the_policy_does_not_alarm() -> None:
    scorer = Scorer(make_codebook(), Policy())
    scores = np.full((1, 6), -1.0, np.float32)
    scores[0, scorer.signals.index("harmful_request")] = 50.0
    found = scorer.score(scores, np.array([20], np.int32))
    assert found.p_value[0] > 0.5
    assert np.exp(found.log_p[0, scorer.signals.index("harmful_request")]) < 1e-3


def test_leading_signal_is_a_counted_one() -> None:
    scorer = Scorer(make_codebook(), Policy())
    log_p = np.array([-1.0, -2.0, -5.0, -3.0, -9.0, -0.5])
    assert scorer.signals[scorer.leading_signal(log_p)] == "prompt_extraction"


def test_score_beyond_the_sample_is_marked_extrapolated() -> None:
    scorer = Scorer(make_codebook(), Policy())
    found = scorer.score(np.array([[0.0] * 6, [9.0] * 6], np.float32), np.array([20, 20], np.int32))
    assert found.extrapolated.tolist() == [[False] * 6, [True] * 6]
    assert found.p_extrapolated.tolist() == [False, True]


def test_huge_logits_stay_probabilities() -> None:
    scorer = Scorer(make_codebook(), Policy())
    found = scorer.score(np.full((1, 6), 3e38, np.float32), np.array([20], np.int32))
    assert 0 <= found.p_value[0] < 1e-4
    assert np.isfinite(found.statistic[0])


def test_batch_of_documents_scores_like_single_ones() -> None:
    scorer = Scorer(make_codebook(strata=(24,)), Policy())
    scores, tokens = benign(4, 50), np.arange(50, dtype=np.int32)
    together = scorer.score(scores, tokens)
    alone = [scorer.score(scores[n : n + 1], tokens[n : n + 1]).p_value[0] for n in range(50)]
    np.testing.assert_array_equal(together.p_value, alone)


def test_largest_window_speaks_for_the_document() -> None:
    logits = np.array([[1, 9], [5, 2], [3, 3], [7, 1], [0, 8]], np.float32)
    largest, rows = largest_by_document(logits, [2, 1, 2])
    assert largest.tolist() == [[5, 9], [3, 3], [7, 8]]
    assert rows.tolist() == [[1, 0], [2, 2], [3, 4]]


def long_tailed(seed: int, count: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(30, 300, count).astype(np.int32)


def drawn_by_length(seed: int, tokens: np.ndarray) -> np.ndarray:
    """A document's score is the largest of as many draws as it has tokens."""
    uniform = np.random.default_rng(seed).uniform(size=(len(tokens), 1))
    return norm.ppf(uniform ** (1 / tokens[:, None])).astype(np.float32)


@pytest.fixture(scope="module")
def by_length() -> Scorer:
    names = make_codebook().header.signals[:1]
    tokens = long_tailed(1, 20_000)
    sample = drawn_by_length(2, tokens)
    return Scorer(make_codebook(benign_scores=sample, benign_tokens=tokens, signals=names), Policy(signals=names))


def test_false_alarm_rate_is_the_budget_over_the_lengths_of_the_sample(by_length: Scorer) -> None:
    tokens = long_tailed(3, FRESH)
    low, high = binom.interval(0.999, FRESH, 0.05)
    assert low <= false_alarms(by_length, drawn_by_length(4, tokens), tokens, 0.05) <= high


def test_false_alarm_rate_stays_near_the_budget_however_long_the_document(by_length: Scorer) -> None:
    _, high = binom.interval(0.999, FRESH, 0.05)
    for length in (300, 3000, 100_000):
        tokens = np.full(FRESH, length, np.int32)
        # The correction starts from the stratum's mixture of lengths, which is an approximation.
        assert false_alarms(by_length, drawn_by_length(5, tokens), tokens, 0.05) <= 1.5 * high


@pytest.mark.parametrize("length", [30, 100, 160])
def test_documents_up_to_the_usual_length_are_not_let_off(by_length: Scorer, length: int) -> None:
    tokens = np.full(FRESH, length, np.int32)
    usual = np.full(FRESH, 165, np.int32)
    assert false_alarms(by_length, drawn_by_length(6, usual), tokens, 0.05) >= FRESH * 0.05 / 3


def test_the_same_score_is_less_rare_in_a_longer_document(by_length: Scorer) -> None:
    tokens = np.array([100, 160, 300, 3000, 100_000], np.int32)
    p_value = by_length.score(np.full((5, 1), 3.8, np.float32), tokens).p_value
    assert p_value[0] == p_value[1]
    assert (np.diff(p_value[1:]) > 0).all()
    assert (p_value <= 1).all()


def test_huge_score_of_a_huge_document_is_still_rare(by_length: Scorer) -> None:
    p_value = by_length.score(np.full((1, 1), 60.0, np.float32), np.array([131_072], np.int32)).p_value
    assert 0 < p_value[0] < 1e-3


def test_document_statistic_is_the_log_sum_exp_of_the_counted_logits() -> None:
    scorer = Scorer(make_codebook(), Policy())
    scores = benign(7, 9)
    counted = [n for n, name in enumerate(scorer.signals) if name in scorer.policy.signals]
    found = scorer.score(scores, np.full(9, 20, np.int32))
    np.testing.assert_allclose(found.statistic, logsumexp(scores[:, counted].astype(np.float64), axis=1))


def test_false_alarm_rate_holds_in_the_worst_source_group() -> None:
    random = np.random.default_rng(8)
    count = 10_000
    groups = np.repeat(np.array([0, 1], np.int32), [count - 1000, 1000])
    scores = (random.normal(size=(count, 6)) + 2 * groups[:, None]).astype(np.float32)
    book = make_codebook(benign_scores=scores, benign_tokens=np.full(count, 20, np.int32))
    mixed = Scorer(book, Policy())
    fair = Scorer(replace(book, benign_groups=groups), Policy())
    fresh = (random.normal(size=(FRESH, 6)) + 2).astype(np.float32)
    low, high = binom.interval(0.999, FRESH, 0.05)
    alarms = [false_alarms(scorer, fresh, np.full(FRESH, 20, np.int32), 0.05) for scorer in (mixed, fair)]
    assert alarms[0] > 3 * high
    # A sample of a thousand has a spread of its own.
    assert low / 2 <= alarms[1] <= high * 1.5


def test_benign_survival_is_the_mixture_over_the_lengths_asked_for() -> None:
    tokens = np.repeat(np.array([10, 40], np.int32), 1000)
    scores = benign(1, 2000) + np.where(tokens == 40, 3, 0).astype(np.float32)[:, None]
    scorer = Scorer(make_codebook(benign_scores=scores, benign_tokens=tokens, strata=(30,)), Policy())
    statistic = scorer.score(scores, tokens).statistic
    at = np.linspace(-1, 8, 20)
    for part in (tokens == 10, tokens == 40, tokens > 0):
        counted = (statistic[part][None, :] >= at[:, None]).mean(axis=1)
        np.testing.assert_allclose(scorer.benign_survival(at, tokens[part]), counted, atol=0.01)
