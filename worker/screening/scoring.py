"""From window logits to a calibrated verdict on the document."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from schemas.signal import Signal
from worker.codebook.format import Codebook
from worker.codebook.splines import SplineTable, SurvivalSpline, fit_survival, fit_worst_group
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

    The document statistic is the log-sum-exp of the policy's signals' logits: the evidence of all of them.
    Its p-value is calibrated end to end on the benign calibration documents, first within the length
    stratum, then against the worst source group, so that the false-alarm rate is the chosen one whatever
    was combined and whichever kind of benign traffic comes.
    """

    def __init__(self, codebook: Codebook, policy: Policy):
        self._codebook = codebook
        self.policy = policy
        self.signals: tuple[Signal, ...] = codebook.header.signals
        self._counted = [self.signals.index(signal) for signal in policy.signals if signal in self.signals]
        self._signals = [SplineTable(splines) for splines in codebook.distributions]
        strata = codebook.stratum_of(codebook.benign_tokens)
        statistic = self._statistic(codebook.benign_scores)
        # Up to here the sample itself speaks for long documents.
        self._sampled_length = float(np.quantile(codebook.benign_tokens[strata == strata.max()], 0.9))
        self._document: tuple[SurvivalSpline, ...] = tuple(
            fit_survival(statistic[strata == stratum]) for stratum in range(len(codebook.distributions))
        )
        rarity = -self._for_length(self._log_p_of_document(statistic, strata), codebook.benign_tokens)
        self._worst_group = fit_worst_group(rarity, codebook.benign_groups)

    def score(self, scores: npt.NDArray[np.float32], tokens: npt.NDArray[np.int32]) -> DocumentScores:
        """Calibrate document scores.

        Args:
            scores: Largest logit over each document's windows and views, ``(n, n_signals)``.
            tokens: Tokens of the documents as written, ``(n,)``.
        """
        strata = self._codebook.stratum_of(tokens)
        log_p, extrapolated = np.zeros(scores.shape), np.zeros(scores.shape, dtype=np.bool_)
        for stratum in np.unique(strata):
            rows = strata == stratum
            log_p[rows] = self._signals[stratum].log_survival(scores[rows].astype(np.float64))
            extrapolated[rows] = self._signals[stratum].extrapolates(scores[rows])
        statistic = self._statistic(scores)
        rarity = -self._for_length(self._log_p_of_document(statistic, strata), tokens)
        return DocumentScores(
            log_p=log_p,
            extrapolated=extrapolated,
            statistic=statistic,
            p_value=np.exp(self._worst_group.log_survival(rarity)),
            p_extrapolated=self._worst_group.extrapolates(rarity),
        )

    def benign_survival(self, statistic: FloatArray, tokens: npt.NDArray[np.int32]) -> FloatArray:
        """Return the share of benign documents of such lengths whose statistic is at least as high.

        The distributions within the length strata, mixed; not yet against the worst source group.

        Args:
            statistic: ``(n,)``.
            tokens: Lengths of the documents, ``(n_documents,)``.

        Returns:
            float64 ``(n,)``.
        """
        strata, counts = np.unique(self._codebook.stratum_of(tokens), return_counts=True)
        each = np.array([np.exp(self._document[stratum].log_survival(statistic)) for stratum in strata])
        mixed: FloatArray = counts @ each / counts.sum()
        return mixed

    def leading_signal(self, log_p: FloatArray) -> int:
        """Return the column of the counted signal with the smallest p-value, of one document."""
        return self._counted[int(np.argmin(log_p[self._counted]))]

    def _log_p_of_document(self, statistic: FloatArray, strata: npt.NDArray[np.int64]) -> FloatArray:
        """Return the log p-value of the statistic within its length stratum."""
        log_p = np.zeros(len(statistic))
        for stratum in np.unique(strata):
            rows = strata == stratum
            log_p[rows] = self._document[stratum].log_survival(statistic[rows])
        return log_p

    def _for_length(self, log_p: FloatArray, tokens: npt.NDArray[np.int32]) -> FloatArray:
        """Correct the p-values of documents longer than the calibration sample's.

        The last stratum has no upper end. A document ``k`` times as long draws ``k`` times as often, and
        ``1 - (1 - p)^k`` (Sidak, JASA 62, 1967) is the p-value of the largest draw.
        """
        draws = np.maximum(1.0, tokens / self._sampled_length)
        p = np.minimum(np.exp(log_p), 1 - 1e-12)
        with np.errstate(divide="ignore"):  # p below double precision: the first term of the series is exact
            exact = np.log(-np.expm1(draws * np.log1p(-p)))
        corrected: FloatArray = np.where(log_p < -30, log_p + np.log(draws), exact)
        return np.where(draws > 1, corrected, log_p)

    def _statistic(self, scores: npt.NDArray[np.float32]) -> FloatArray:
        return document_statistic(scores[:, self._counted])


def document_statistic(scores: npt.NDArray[np.float32]) -> FloatArray:
    """Return the log-sum-exp of a document's logits: the evidence of all signals together.

    Args:
        scores: Logits of the signals that count, float32 ``(n, n_signals)``.

    Returns:
        float64 ``(n,)``.
    """
    logits = scores.astype(np.float64)
    top = logits.max(axis=1)
    together: FloatArray = top + np.log(np.exp(logits - top[:, None]).sum(axis=1))
    return together


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
