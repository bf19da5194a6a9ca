"""Which stretches of a text carried its score."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from worker.screening.evidence import MAX_GAP, MAX_SPANS, to_evidence, token_spans


def shares(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def test_one_hot_token_is_the_evidence() -> None:
    assert token_spans(shares(0, 0, 5, 0)) == [(2, 2, 1.0)]


def test_neighbours_are_joined() -> None:
    assert token_spans(shares(0, 1, 0, 1, 0)) == [(1, 3, 1.0)]


def test_distant_tokens_are_apart_and_the_heavier_comes_first() -> None:
    far = [0.0] * (MAX_GAP + 1)
    spans = token_spans(shares(1, *far, 3))
    assert [(first, last) for first, last, _ in spans] == [(MAX_GAP + 2, MAX_GAP + 2), (0, 0)]
    assert [weight for _, _, weight in spans] == pytest.approx([0.75, 0.25])


def test_negative_shares_carry_nothing() -> None:
    assert token_spans(shares(-5, 2, -5))[0] == (1, 1, 1.0)


@pytest.mark.parametrize("values", [(0.0, 0.0), (-1.0, -2.0), ()])
def test_no_positive_share_no_evidence(values: tuple[float, ...]) -> None:
    assert token_spans(shares(*values)) == []


def test_evenly_spread_evidence_is_one_span() -> None:
    assert [(first, last) for first, last, _ in token_spans(np.full(500, 0.1, np.float32))] == [(0, 499)]


@given(hnp.arrays(np.float32, st.integers(1, 200), elements=st.floats(-100, 100, width=32)))
def test_spans_are_few_apart_and_weighed(values: np.ndarray) -> None:
    spans = token_spans(values)
    assert len(spans) <= MAX_SPANS
    assert bool(spans) == bool((values > 0).any())
    assert all(0 <= first <= last < len(values) and 0 < weight <= 1 for first, last, weight in spans)
    ordered = sorted(spans)
    assert all(before[1] < after[0] for before, after in pairwise(ordered))
    assert [weight for *_, weight in spans] == sorted((weight for *_, weight in spans), reverse=True)


def test_evidence_counts_characters_and_is_in_reading_order() -> None:
    offsets = np.array([[0, 3], [4, 9], [10, 12], [13, 20]], np.int32)
    found = to_evidence([(2, 3, 0.7), (0, 0, 0.3)], offsets, "jailbreak")
    assert [(span.start, span.end, span.weight) for span in found] == [(0, 3, 0.3), (10, 20, 0.7)]
    assert {span.signal for span in found} == {"jailbreak"}
