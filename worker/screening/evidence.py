"""Which characters of a flagged text carried its score."""

import numpy as np
import numpy.typing as npt

from schemas.signal import EvidenceSpan, Signal

MAX_SPANS = 3
MIN_SHARE = 0.04
"""A token's share of the positive evidence below which it does not stand out."""
MAX_GAP = 3
"""Tokens between two that stand out which still join them into one span."""


def token_spans(shares: npt.NDArray[np.float32]) -> list[tuple[int, int, float]]:
    """Group the tokens that carried a score.

    Args:
        shares: What each token added to the logit, float32 ``(n_tokens,)``.

    Returns:
        Up to ``MAX_SPANS`` of first token, last token (inclusive) and weight, the heaviest first. Weights
        are shares of all positive evidence. Empty if no token added anything.
    """
    positive = np.maximum(shares, 0.0)
    total = float(positive.sum())
    if total <= 0:
        return []
    weights = positive / total
    standing_out = np.flatnonzero(weights >= min(MIN_SHARE, float(weights.max())))
    groups = np.split(standing_out, np.flatnonzero(np.diff(standing_out) > MAX_GAP) + 1)
    spans = [
        (int(group[0]), int(group[-1]), min(1.0, float(weights[group[0] : group[-1] + 1].sum()))) for group in groups
    ]
    return sorted(spans, key=lambda span: -span[2])[:MAX_SPANS]


def to_evidence(
    spans: list[tuple[int, int, float]],
    offsets: npt.NDArray[np.int32],
    signal: Signal,
) -> list[EvidenceSpan]:
    """Turn token spans into character spans, in reading order.

    Args:
        spans: From ``token_spans``, over the tokens of ``offsets``.
        offsets: Start and end character of every token, int32 ``(n_tokens, 2)``.
        signal: The signal they speak for.
    """
    found = [
        EvidenceSpan(
            signal=signal,
            start=int(offsets[first, 0]),
            end=int(offsets[last, 1]),
            weight=round(weight, 4),
        )
        for first, last, weight in spans
    ]
    return sorted(found, key=lambda span: span.start)
