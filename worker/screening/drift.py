"""Does a backend reproduce what the codebook was calibrated on? The golden self-test, and the rule behind it.

The same arithmetic must give the same logits, to the codebook's tolerance. Another arithmetic (bfloat16 for a
codebook calibrated in float32) rounds otherwise; what must hold there is the promise itself, the p-values. If
no p-value moves by more than a factor and they do not move one way on the whole, the rate of false alarms at
every budget stays what was calibrated, to that factor at worst. Far out in the tail p-values hardly move
whatever the logits do, so that these have a wide limit of their own: it tells rounding from a wrong model.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from worker.codebook.format import Codebook
from worker.errors import GoldenDrift
from worker.model.encoder import Encoder
from worker.model.windows import WindowTokenizer
from worker.screening.offline import score_texts
from worker.screening.policy import DEFAULT_BUDGETS, Policy
from worker.screening.scoring import Scorer

MAX_FACTOR = 1.5
"""Largest change of one document's p-value. Budgets are a factor of ten apart."""

MAX_LOGIT = 0.5
"""Largest change of a logit in another arithmetic."""

MAX_SHIFT = 0.05
"""Largest mean change of the logarithm of p-values: 5 % more or fewer false alarms on the whole."""


@dataclass(frozen=True)
class Drift:
    """How far scores of the same texts in two arithmetics lie apart.

    Attributes:
        texts: Number of texts.
        logit: Largest difference of a signal's logit.
        factor: Largest factor between two p-values of one document, at least 1.
        factor_99: The 99th percentile of these factors.
        shift: Mean difference of the p-values' logarithms; negative if they fell.
        changed: For every severity's budget, documents under it in one arithmetic only.
    """

    texts: int
    logit: float
    factor: float
    factor_99: float
    shift: float
    changed: dict[str, int]

    @property
    def tolerable(self) -> bool:
        """Whether p-values mean the same; False for NaN as well."""
        return self.logit <= MAX_LOGIT and self.factor <= MAX_FACTOR and abs(self.shift) <= MAX_SHIFT


def measure_drift(
    codebook: Codebook,
    reference: npt.NDArray[np.float32],
    found: npt.NDArray[np.float32],
    tokens: npt.NDArray[np.int32],
) -> Drift:
    """Compare document scores.

    Args:
        codebook: Its distributions make p-values of the scores, under the default policy.
        reference: Scores in the calibrated arithmetic, ``(n_texts, n_signals)``.
        found: Scores in the other arithmetic, of the same shape.
        tokens: Tokens of the texts, ``(n_texts,)``.
    """
    scorer = Scorer(codebook, Policy())
    with np.errstate(all="ignore"):  # NaN and infinity are found out below
        before, after = (np.log(scorer.score(scores, tokens).p_value) for scores in (reference, found))
        change = np.abs(after - before)
        return Drift(
            texts=len(tokens),
            logit=float(np.abs(found - reference).max()),
            factor=float(np.exp(change.max())),
            factor_99=float(np.exp(np.quantile(change, 0.99))),
            shift=float((after - before).mean()),
            changed={
                severity: int(((before < np.log(budget)) != (after < np.log(budget))).sum())
                for severity, budget in DEFAULT_BUDGETS.items()
            },
        )


def check_golden(codebook: Codebook, tokenizer: WindowTokenizer, encoder: Encoder) -> Drift:
    """Score the golden texts, which also warms the model up, and compare with the codebook's scores.

    Raises:
        GoldenDrift: A logit is over the codebook's tolerance on the calibrated arithmetic, or on another one the
            p-values would not mean what they say.
    """
    golden, calibrated = codebook.header.golden, codebook.header.model
    scores, tokens = score_texts(encoder, tokenizer, golden.texts)
    drift = measure_drift(codebook, codebook.golden_scores, scores, tokens)
    same = encoder.name.endswith(f"-{calibrated.dtype}")
    if same and not drift.logit <= golden.tolerance:
        raise GoldenDrift(
            f"scores of the golden texts on {encoder.name} differ by {drift.logit:.3f} from the calibrated ones, the "
            f"tolerance is {golden.tolerance}. Model and codebook do not belong together, or this machine computes "
            "wrongly; calibrate on it to find out."
        )
    if not same and not drift.tolerable:
        raise GoldenDrift(
            f"on {encoder.name} the golden texts' logits differ by {drift.logit:.3f} from the calibrated ones and "
            f"their p-values by a factor of up to {drift.factor:.2f}, shift {drift.shift:+.3f}; tolerated are "
            f"{MAX_LOGIT}, {MAX_FACTOR} and {MAX_SHIFT}. Use FIREWALL_DTYPE={calibrated.dtype}, or calibrate for this "
            "arithmetic."
        )
    return drift


def compare(
    encoder: Encoder, other: Encoder, codebook: Codebook, tokenizer: WindowTokenizer, texts: Sequence[str]
) -> Drift:
    """Score texts in the calibrated arithmetic and in another one.

    Args:
        encoder: The arithmetic the codebook was calibrated in.
        other: The one to judge.
        codebook: See ``measure_drift``.
        tokenizer: The codebook's tokenizer.
        texts: At least one; every one needs a token.
    """
    reference, tokens = score_texts(encoder, tokenizer, texts)
    found, _ = score_texts(other, tokenizer, texts)
    return measure_drift(codebook, reference, found, tokens)
