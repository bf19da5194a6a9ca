"""Measures of detection: AUC, detection at a false-alarm rate, rates with intervals. NumPy only."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
Z95 = 1.959963984540054


def auc(benign: FloatArray, attack: FloatArray) -> float:
    """Return the area under the ROC curve: how often an attack outscores a benign text, ties by half."""
    ordered = np.sort(benign)
    below = np.searchsorted(ordered, attack, side="left")
    not_above = np.searchsorted(ordered, attack, side="right")
    return float((below + not_above).mean() / (2 * len(ordered)))


def tpr_at(benign: FloatArray, attack: FloatArray, fpr: float) -> float:
    """Return the share of attacks above the smallest threshold that at most ``fpr`` of the benign exceed."""
    ordered = np.sort(benign)
    allowed = int(np.floor(fpr * len(ordered)))
    threshold = ordered[len(ordered) - 1 - allowed] if allowed < len(ordered) else -np.inf
    return float((attack > threshold).mean())


def wilson(hits: int, total: int) -> tuple[float, float]:
    """Return the 95 % Wilson interval of a share (Wilson, JASA 22, 1927); the whole line for no trials."""
    if total == 0:
        return 0.0, 1.0
    share = hits / total
    centre = (share + Z95**2 / (2 * total)) / (1 + Z95**2 / total)
    half = Z95 / (1 + Z95**2 / total) * np.sqrt(share * (1 - share) / total + Z95**2 / (4 * total**2))
    return max(0.0, float(centre - half)), min(1.0, float(centre + half))


def bootstrap(
    measure: Callable[[FloatArray, FloatArray], float],
    benign: FloatArray,
    attack: FloatArray,
    *,
    rounds: int = 200,
) -> tuple[float, float]:
    """Return the 95 % percentile interval of a measure over resampled benign and attack scores; fixed seed."""
    generator = np.random.default_rng(7)
    values = [
        measure(
            generator.choice(benign, len(benign), replace=True),
            generator.choice(attack, len(attack), replace=True),
        )
        for _ in range(rounds)
    ]
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def ranking(benign: FloatArray, attack: FloatArray) -> dict[str, Any]:
    """Return AUC, its 95 % interval, and detection at false-alarm rates on these very scores; nothing if a side lacks.

    Args:
        benign: Scores, ``(n_benign,)``.
        attack: Scores, ``(n_attack,)``.
    """
    if not (len(benign) and len(attack)):
        return {}
    return {
        "auc": auc(benign, attack),
        "auc_interval": bootstrap(auc, benign, attack),
        "tpr_at_fpr": {str(fpr): tpr_at(benign, attack, fpr) for fpr in (0.05, 0.01, 0.001)},
    }


def rate(flags: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """Return a share with its count and 95 % interval."""
    hits, total = int(flags.sum()), len(flags)
    low, high = wilson(hits, total)
    return {"rate": hits / total if total else None, "n": total, "low": low, "high": high}


def ks_uniform(p_values: FloatArray, calibrated_on: int) -> float | None:
    """Return the p-value of the Kolmogorov-Smirnov test that p-values are uniform on 0 to 1; None for no values.

    P-values taken from a calibration sample inherit its scatter: the test is the one of two samples, or it would
    reject calibrations that are as right as they can be. The asymptotic series with the correction for small
    samples of Stephens (J. R. Stat. Soc. B 32, 1970).

    Args:
        p_values: ``(n,)``.
        calibrated_on: Size of the sample they were taken from.
    """
    count = len(p_values)
    if count == 0:
        return None
    ordered = np.sort(p_values)
    steps = np.arange(count + 1) / count
    distance = float(max((steps[1:] - ordered).max(), (ordered - steps[:-1]).max()))
    root = float(np.sqrt(count * calibrated_on / (count + calibrated_on)))
    scaled = (root + 0.12 + 0.11 / root) * distance
    if scaled < 0.2:  # the series needs ever more terms; the sum is 1 to eight digits
        return 1.0
    terms = np.arange(1, 101)
    series = 2 * ((-1.0) ** (terms - 1) * np.exp(-2 * (terms * scaled) ** 2)).sum()
    return float(np.clip(series, 0.0, 1.0))


def summarise(
    scores: FloatArray,
    p_values: FloatArray,
    labels: npt.NDArray[np.int64],
    groups: dict[str, Sequence[str]],
) -> dict[str, Any]:
    """Return the measures of one evaluation.

    Args:
        scores: Document statistic, ``(n,)``.
        p_values: ``(n,)``.
        labels: 0 benign, 1 attack, ``(n,)``.
        groups: For every grouping (signal, source, …) the group of each row.
    """
    benign, attack = scores[labels == 0], scores[labels == 1]
    summary: dict[str, Any] = {"rows": len(scores), "benign": len(benign), "attack": len(attack)}
    summary |= ranking(benign, attack)
    summary["false_alarms"] = {str(b): rate(p_values[labels == 0] < b) for b in (0.05, 0.01, 0.001)}
    summary["detected"] = {str(b): rate(p_values[labels == 1] < b) for b in (0.05, 0.01, 0.001)}
    for name, members in groups.items():
        member_of = np.asarray(members)
        summary[f"by_{name}"] = {
            (str(group) if len(found) == 1 else f"{group} ({('benign', 'attack')[label]})"): {
                "label": int(label),
                "flagged": rate(p_values[(member_of == group) & (labels == label)] < 0.01),
            }
            for group in np.unique(member_of)
            if group
            for found in [np.unique(labels[member_of == group])]
            for label in found
        }
    return summary
