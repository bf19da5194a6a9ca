"""What ``make quality`` says of ``recalibrate``: does the chosen rate hold on traffic it was given a sample of."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from worker.codebook.format import Codebook
from worker.fitting.dataset import LabelledText, held_out
from worker.fitting.recalibrate import MIN_TEXTS, check
from worker.screening.screener import Finding

SAMPLE = 500
DRAWS = 20

Screened = Sequence[tuple[LabelledText, Finding]]


def render(codebook: Codebook, sets: Mapping[str, Screened]) -> list[str]:
    """Return the section as lines of Markdown.

    Args:
        codebook: What is recalibrated.
        sets: By name screened rows; the benign ones count, in sets of at least twice ``recalibrate.MIN_TEXTS``.
    """
    rows = []
    for name, screened in sets.items():
        benign = [(row, found) for row, found in screened if row.label == 0]
        if len(benign) >= 2 * MIN_TEXTS:
            half = np.array([held_out(row, 0.5, "recalibrate") for row, _ in benign])
            rows += [_row(codebook, name, benign, first) for first in (half, _drawn(0, len(benign)))]
    return [
        "## After `recalibrate`",
        "",
        (
            f"On half of a set's benign texts, and on {SAMPLE} of them (or half, where there are fewer); measured on "
            "the others at the 1 % budget. A calibration on few texts scatters; how well it does as a rule is said by "
            f"the mean of {DRAWS} draws of as many texts, and by in how many of them 1 % lies within the rate's 95 % "
            "interval. KS: smallest p-value, over length strata, of the test that the others' p-values are uniform."
        ),
        "",
        "| benign texts of | calibrated on | measured on | before | after | mean of draws | 1 % within | KS |",
        "|---|---|---|---|---|---|---|---|",
        *rows,
        "",
    ]


def _row(codebook: Codebook, name: str, benign: Screened, first: npt.NDArray[np.bool_]) -> str:
    scores = np.array([[score.score for score in found.signals] for _, found in benign], dtype=np.float32)
    tokens = np.array([found.tokens for _, found in benign], dtype=np.int32)
    measured = check(codebook, scores, tokens, first)
    notice = measured["false_alarms"]["notice"]
    draws = [
        check(codebook, scores, tokens, _drawn(seed, len(benign), int(first.sum())))["false_alarms"]["notice"]["after"]
        for seed in range(1, DRAWS + 1)
    ]
    within = sum(draw["low"] <= notice["budget"] <= draw["high"] for draw in draws)
    uniform = min(stratum["ks_p"] for stratum in measured["uniform"] if stratum["ks_p"] is not None)
    before, after = (f"{r['rate']:.2%} [{r['low']:.2%}, {r['high']:.2%}]" for r in (notice["before"], notice["after"]))
    mean = float(np.mean([draw["rate"] for draw in draws]))
    return (
        f"| {name} | {measured['calibrated_on']} | {measured['measured_on']} | {before} | {after} | {mean:.2%} | "
        f"{within} of {DRAWS} | {uniform:.2g} |"
    )


def _drawn(seed: int, count: int, most: int = SAMPLE) -> npt.NDArray[np.bool_]:
    first = np.zeros(count, dtype=np.bool_)
    first[np.random.default_rng(seed).permutation(count)[: min(most, count // 2)]] = True
    return first
