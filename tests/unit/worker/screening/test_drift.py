"""What another arithmetic may change, and what it may not."""

from dataclasses import replace

import numpy as np
import pytest

from tests.unit.fakes import FakeEncoder, make_codebook
from worker.codebook.format import Codebook
from worker.errors import GoldenDrift
from worker.model.windows import WindowTokenizer
from worker.screening.drift import MAX_FACTOR, MAX_LOGIT, MAX_SHIFT, Drift, check_golden, compare, measure_drift
from worker.screening.offline import score_texts

TOKENS = np.full(400, 20, dtype=np.int32)


@pytest.fixture(scope="module")
def scores() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(400, 6)).astype(np.float32)


def test_equal_scores_have_no_drift(codebook: Codebook, scores: np.ndarray) -> None:
    drift = measure_drift(codebook, scores, scores, TOKENS)
    assert (drift.logit, drift.factor, drift.shift, drift.texts) == (0, 1, 0, 400)
    assert drift.changed == {"notice": 0, "warning": 0, "critical": 0}
    assert drift.tolerable


def test_rounding_is_tolerable(codebook: Codebook, scores: np.ndarray) -> None:
    noise = np.random.default_rng(2).normal(scale=0.01, size=scores.shape).astype(np.float32)
    drift = measure_drift(codebook, scores, scores + noise, TOKENS)
    assert 1 < drift.factor_99 <= drift.factor < MAX_FACTOR
    assert drift.tolerable


def test_a_shift_of_all_scores_is_not(codebook: Codebook, scores: np.ndarray) -> None:
    up = measure_drift(codebook, scores, scores + np.float32(0.1), TOKENS)
    down = measure_drift(codebook, scores, scores - np.float32(0.1), TOKENS)
    assert up.shift < -MAX_SHIFT
    assert down.shift > MAX_SHIFT
    assert not up.tolerable
    assert not down.tolerable


def test_one_document_beyond_the_factor_is_not(codebook: Codebook, scores: np.ndarray) -> None:
    other = scores.copy()
    other[other.max(axis=1).argmax()] += np.float32(0.45)
    drift = measure_drift(codebook, scores, other, TOKENS)
    assert drift.logit < MAX_LOGIT
    assert drift.factor > MAX_FACTOR
    assert not drift.tolerable


def test_logits_far_out_in_the_tail_are_held_as_well(codebook: Codebook, scores: np.ndarray) -> None:
    low = scores - np.float32(50)  # p is 1 there, whatever the logits do
    drift = measure_drift(codebook, low, low + np.float32(3), TOKENS)
    assert drift.factor == 1
    assert not drift.tolerable


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_scores_that_are_no_numbers_are_not_tolerable(codebook: Codebook, scores: np.ndarray, bad: float) -> None:
    other = scores.copy()
    other[0] = bad
    assert not measure_drift(codebook, scores, other, TOKENS).tolerable


def test_verdicts_that_change_are_counted(codebook: Codebook, scores: np.ndarray) -> None:
    changed = measure_drift(codebook, scores, scores + np.float32(1), TOKENS).changed
    assert changed["notice"] > changed["warning"]
    assert changed["notice"] > 4


class Other(FakeEncoder):
    name = "fake-bfloat16"


def golden_book(tokenizer: WindowTokenizer, encoder: FakeEncoder) -> Codebook:
    book = make_codebook()
    texts = ["the garden", "water music house " * 9]
    golden = book.header.golden.model_copy(update={"texts": texts})
    scores, _ = score_texts(encoder, tokenizer, texts)
    return replace(book, header=book.header.model_copy(update={"golden": golden}), golden_scores=scores)


VOCABULARY = range(5, 400)


@pytest.mark.parametrize("change", [0.0, 0.04])
def test_same_arithmetic_passes_within_the_codebooks_tolerance(tokenizer: WindowTokenizer, change: float) -> None:
    book = golden_book(tokenizer, FakeEncoder())
    book = replace(book, golden_scores=book.golden_scores + np.float32(change))
    assert check_golden(book, tokenizer, FakeEncoder()).logit == pytest.approx(change)


def test_same_arithmetic_is_held_to_the_logits(tokenizer: WindowTokenizer) -> None:
    book = golden_book(tokenizer, FakeEncoder())
    with pytest.raises(GoldenDrift, match=r"0\.060.*0\.05"):
        check_golden(replace(book, golden_scores=book.golden_scores + np.float32(0.06)), tokenizer, FakeEncoder())


def test_other_arithmetic_is_held_to_the_p_values(tokenizer: WindowTokenizer) -> None:
    book = golden_book(tokenizer, FakeEncoder())
    small = book.golden_scores + np.array([[0.06], [-0.06]], dtype=np.float32)
    assert check_golden(replace(book, golden_scores=small), tokenizer, Other()).tolerable
    large = book.golden_scores + np.float32(0.4)
    with pytest.raises(GoldenDrift, match=r"fake-bfloat16.*FIREWALL_DTYPE=float32"):
        check_golden(replace(book, golden_scores=large), tokenizer, Other())


def test_two_encoders_are_compared_on_texts(codebook: Codebook, tokenizer: WindowTokenizer) -> None:
    weights = dict.fromkeys(VOCABULARY, 0.01)
    drift = compare(FakeEncoder(), Other(weights), codebook, tokenizer, ["the garden", "water"])
    assert isinstance(drift, Drift)
    assert drift.texts == 2
    assert drift.logit == pytest.approx(0.02)
