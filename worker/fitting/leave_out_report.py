"""What ``make quality`` says of the source groups that were left out."""

import numpy as np
import numpy.typing as npt

from worker.fitting.leave_out import FOLDS, MAX_WINDOWS, ROWS, HeldOut
from worker.fitting.measure import auc

FloatArray = npt.NDArray[np.float64]
ROUNDS = 200


def render(found: dict[str, HeldOut], *, adapter: bool) -> list[str]:
    """Return the section as lines of Markdown.

    Args:
        found: From ``leave_groups_out``.
        adapter: Whether an adapter was fitted for every fold.
    """
    methods = list(next(iter(found.values())).attack)
    rounds = {name: np.array([_macro(found, name, seed) for seed in range(ROUNDS)]) for name in methods}
    rows = [
        f"| {name} | {_macro(found, name):.3f} | {_interval(rounds[name])} | {_difference(rounds, methods[0], name)} |"
        for name in methods
    ]
    groups = [
        f"| {group} | {len(scores.attack[methods[0]])} | "
        + " | ".join(f"{auc(scores.benign[name], scores.attack[name]):.3f}" for name in methods)
        + " |"
        for group, scores in sorted(found.items())
    ]
    return [
        "## Sources left out",
        "",
        _protocol(adapter),
        "",
        f"| method | macro AUC | interval | {methods[0]} is better by |",
        "|---|---|---|---|",
        *rows,
        "",
        f"| attacks of | n | {' | '.join(methods)} |",
        "|---|---|" + "---|" * len(methods),
        *groups,
        "",
    ]


def _protocol(adapter: bool) -> str:
    fitted = (
        "The adapter and the probes are fitted anew for every fold, as for the shipped codebook."
        if adapter
        else (
            "**Probes on the frozen model, without the adapter** (fitting it five times takes hours: "
            f"`python -m worker.fitting.quality --full`), on up to {ROWS} rows of a source group and label and "
            f"{MAX_WINDOWS} windows of a row, drawn alike for all methods. So this says how the method compares on new "
            "sources, not how good the shipped codebook is."
        )
    )
    return (
        f"The source groups of the training rows are dealt into {FOLDS} folds. Each method is fitted on four and ranks "
        "the attacks of every group of the fifth against all its benign rows; the statistic is not calibrated, the "
        f"basis is the codebook's. Macro AUC: mean over attack groups. Intervals resample rows. {fitted}"
    )


def _macro(found: dict[str, HeldOut], method: str, seed: int | None = None) -> float:
    """Return the mean AUC over groups; with a seed, of resampled rows, which are the same for all methods."""
    values = []
    for number, scores in enumerate(found.values()):
        benign, attack = scores.benign[method], scores.attack[method]
        if seed is not None:
            benign = _resample(benign, [seed, 0, scores.fold])
            attack = _resample(attack, [seed, 1, number])
        values.append(auc(benign, attack))
    return float(np.mean(values))


def _resample(scores: FloatArray, seed: list[int]) -> FloatArray:
    return scores[np.random.default_rng(seed).integers(0, len(scores), len(scores))]


def _interval(values: FloatArray) -> str:
    low, high = np.quantile(values, [0.025, 0.975])
    return f"{low:.3f} to {high:.3f}"


def _difference(rounds: dict[str, FloatArray], ours: str, other: str) -> str:
    return "" if other == ours else _interval(rounds[ours] - rounds[other])
