"""From window logits to a calibrated verdict on the document."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from schemas.signal import Signal
from worker.codebook.format import Codebook
from worker.codebook.splines import SurvivalSpline, fit_survival
from worker.screening.policy import Policy

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class DocumentScores:
    """Calibrated scores of ``n`` documents.

    Attributes:
        log_p: Natural log of the p-value of each signal, float64 ``(n, n_signals)``.
        extrapolated: Where that p-value lies on the fitted tail, bool ``(n, n_signals)``.
        statistic: The policy's document statistic, float64 ``(n,)``; higher is more suspicious.
        p_value: Share of benign documents whose statistic is at least as high, float64 ``(n,)``.
        p_extrapolated: Where that lies on the fitted tail, bool ``(n,)``.
    """

    log_p: FloatArray
    extrapolated: npt.NDArray[np.bool_]
    statistic: FloatArray
    p_value: FloatArray
    p_extrapolated: npt.NDArray[np.bool_]


class Scorer:
    """A codebook's distributions under one policy.

    The document statistic is the largest ``-log10 p`` among the policy's signals. Taking the best of
    several signals raises it by chance alone, so it is calibrated again on the benign calibration
    documents of the same length stratum: the false-alarm rate of the verdict is the chosen one whatever
    the combination.
    """

    def __init__(self, codebook: Codebook, policy: Policy):
        self._codebook = codebook
        self.policy = policy
        self.signals: tuple[Signal, ...] = codebook.header.signals
        self._counted = [self.signals.index(signal) for signal in policy.signals if signal in self.signals]
        strata = codebook.stratum_of(codebook.benign_tokens)
        statistic = self._statistic(self._log_p(codebook.benign_scores, strata))
        self._document: tuple[SurvivalSpline, ...] = tuple(
            fit_survival(statistic[strata == stratum]) for stratum in range(len(codebook.distributions))
        )

    def score(self, scores: npt.NDArray[np.float32], tokens: npt.NDArray[np.int32]) -> DocumentScores:
        """Calibrate document scores.

        Args:
            scores: Largest logit over each document's windows and views, ``(n, n_signals)``.
            tokens: Tokens of the documents as written, ``(n,)``.
        """
        strata = self._codebook.stratum_of(tokens)
        log_p = self._log_p(scores, strata)
        statistic = self._statistic(log_p)
        extrapolated = np.zeros(scores.shape, dtype=np.bool_)
        p_value, p_extrapolated = np.ones(len(scores)), np.zeros(len(scores), dtype=np.bool_)
        for stratum in np.unique(strata):
            rows = strata == stratum
            for column, spline in enumerate(self._codebook.distributions[stratum]):
                extrapolated[rows, column] = spline.extrapolates(scores[rows, column])
            document = self._document[stratum]
            p_value[rows] = np.exp(document.log_survival(statistic[rows]))
            p_extrapolated[rows] = document.extrapolates(statistic[rows])
        return DocumentScores(log_p, extrapolated, statistic, p_value, p_extrapolated)

    def leading_signal(self, log_p: FloatArray) -> int:
        """Return the column of the counted signal with the smallest p-value, of one document."""
        return self._counted[int(np.argmin(log_p[self._counted]))]

    def _log_p(self, scores: npt.NDArray[np.float32], strata: npt.NDArray[np.int64]) -> FloatArray:
        log_p = np.zeros(scores.shape, dtype=np.float64)
        for stratum in np.unique(strata):
            rows = strata == stratum
            for column, spline in enumerate(self._codebook.distributions[stratum]):
                log_p[rows, column] = spline.log_survival(scores[rows, column])
        return log_p

    def _statistic(self, log_p: FloatArray) -> FloatArray:
        strongest: FloatArray = -log_p[:, self._counted].min(axis=1) / np.log(10)
        return strongest


def largest_by_document(
    logits: npt.NDArray[np.float32], counts: Sequence[int]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Reduce windows to documents by the maximum: one attacked window makes the document suspicious.

    Args:
        logits: float32 ``(n_windows, n_signals)``, a document's windows in a row.
        counts: Number of windows of every document, each at least 1.

    Returns:
        The largest logits ``(n_documents, n_signals)`` and the row each came from, of the same shape.
    """
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.int64)
    largest = np.maximum.reduceat(logits, starts, axis=0)
    rows = np.stack(
        [start + logits[start : start + count].argmax(axis=0) for start, count in zip(starts, counts, strict=True)]
    )
    return largest, rows
