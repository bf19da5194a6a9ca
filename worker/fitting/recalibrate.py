"""Calibrate a codebook anew on an operator's own benign texts.

Model, basis, adapter and probes stay as they were fitted; only what counts as benign changes. The former
calibration sample is replaced, not added to: in a mixture the false-alarm rate would be right for no
traffic, and the worst-group rule (ADR 3) would keep the thresholds that other people's texts need. There is
one source group afterwards, the traffic.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from worker.codebook.format import TRAFFIC, Codebook
from worker.errors import InvalidField
from worker.fitting.fit import Fitted, assemble, merge_strata
from worker.fitting.measure import ks_uniform, rate
from worker.fitting.plan import CalibrationPlan
from worker.screening.policy import Policy
from worker.screening.scoring import Scorer

Scores = npt.NDArray[np.float32]
Tokens = npt.NDArray[np.int32]

MIN_TEXTS = 200
"""Distinct texts: with half of them the rate at 1 % still rests on a benign text or two."""


def replace_benign(codebook: Codebook, scores: Scores, tokens: Tokens, provenance: dict[str, Any]) -> Codebook:
    """Return the codebook with its benign distributions fitted to another sample.

    Length strata are merged until each holds enough texts (``fit.merge_strata``): of 500 texts one or two remain.

    Args:
        codebook: What was fitted; it is left as it is.
        scores: Document scores of the benign texts, float32 ``(n_texts, n_signals)``, in the arithmetic of the
            codebook.
        tokens: int32 ``(n_texts,)``.
        provenance: Added to the codebook's as ``recalibrated``.
    """
    header = codebook.header
    borders = tuple(sorted({*header.strata, *CalibrationPlan.strata}))
    changed = header.model_copy(
        update={
            "strata": merge_strata(tokens, borders),
            "groups": (TRAFFIC,),
            "provenance": header.provenance | {"benign_calibration": len(scores), "recalibrated": provenance},
        }
    )
    fitted = Fitted(codebook.basis, codebook.probe, codebook.adapter)
    return assemble(changed, fitted, scores, tokens, np.zeros(len(scores), np.int64), codebook.golden_scores)


def halves(texts: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Split texts by hash, so that copies of one text are on one side; bool ``(n_texts,)``.

    Raises:
        InvalidField: There are too few distinct texts.
    """
    digests = [hashlib.sha256(text.encode()).digest() for text in texts]
    distinct = sorted(set(digests))
    if len(distinct) < MIN_TEXTS:
        raise InvalidField(
            f"only {len(distinct)} distinct benign texts, {MIN_TEXTS} are needed; 500 or more are better", field="text"
        )
    first = set(distinct[: len(distinct) // 2])
    return np.array([digest in first for digest in digests])


def check(codebook: Codebook, scores: Scores, tokens: Tokens, first: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """Calibrate on the first half and measure on the other, with the default policy.

    Args:
        codebook: The codebook before.
        scores: As in ``replace_benign``.
        tokens: As in ``replace_benign``.
        first: Texts to calibrate on, bool ``(n_texts,)``; the others are measured.

    Returns:
        Realised false-alarm rates with their 95 % intervals, before and after, at the budget of each severity, and
        what to expect of a calibration on all texts (see ``expected_rate``); and by length stratum the p-value of
        the Kolmogorov-Smirnov test that the p-values after are uniform, as they are where calibration and traffic
        agree.
    """
    policy = Policy()
    after_book = replace_benign(codebook, scores[first], tokens[first], {})
    before, after = (
        Scorer(book, policy).score(scores[~first], tokens[~first]).p_value for book in (codebook, after_book)
    )
    stratum = after_book.stratum_of(tokens[~first])
    calibrated_on = np.bincount(after_book.stratum_of(tokens[first]))
    return {
        "calibrated_on": int(first.sum()),
        "measured_on": int((~first).sum()),
        "false_alarms": {
            severity: {
                "budget": budget,
                "before": rate(before < budget),
                "after": rate(after < budget),
                "expected": expected_rate(budget, len(scores)),
            }
            for severity, budget in policy.budgets.items()
        },
        "uniform": [
            {
                "from_tokens": border,
                "texts": int((stratum == number).sum()),
                "ks_p": ks_uniform(after[stratum == number], int(calibrated_on[number])),
            }
            for number, border in enumerate((0, *after_book.header.strata))
        ],
    }


def expected_rate(budget: float, texts: int) -> tuple[float, float]:
    """Return between which rates 95 of 100 calibrations on so many texts flag further ones.

    The threshold is an order statistic of the sample, so that the share beyond it has a beta distribution (Vovk,
    "Conditional validity of inductive conformal predictors", 2012); half a text is lost between two of them.
    """
    rank = max(0.5, budget * (texts + 1) - 0.5)
    low, high = np.quantile(np.random.default_rng(7).beta(rank, texts + 1 - rank, 20_000), [0.025, 0.975])
    return float(low), float(high)
