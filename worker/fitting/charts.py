"""Charts of an evaluation, as SVG text that needs nothing else."""

import io
from collections.abc import Callable
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from worker.fitting.measure import wilson

FloatArray = npt.NDArray[np.float64]
Survival = Callable[[FloatArray], FloatArray]
"""Share of benign texts that score at least so high, of scores ``(n,)``."""

BENIGN, ATTACK, INK, FAINT = "#2f6f8f", "#c8452d", "#333333", "#b9b3a8"
BINS = 60
P_BINS = 20
DET_TICKS = (0.001, 0.01, 0.05, 0.2, 0.5, 0.8, 0.95, 0.99)


def charts(
    labels: npt.NDArray[np.int64], statistic: FloatArray, p_value: FloatArray, survival: Survival | None = None
) -> dict[str, str]:
    """Return the charts that the rows allow, by name.

    Args:
        labels: 0 benign, 1 attack, ``(n,)``.
        statistic: Document statistic, ``(n,)``.
        p_value: ``(n,)``.
        survival: The codebook's benign distribution of the statistic, for texts of these lengths.
    """
    benign, attack = statistic[labels == 0], statistic[labels == 1]
    drawn = {"scores": _svg(lambda axes: _draw_scores(axes, benign, attack, survival))}
    if len(benign) and survival is not None:
        drawn["tail"] = _svg(lambda axes: _draw_tail(axes, benign, attack, survival))
    if len(benign) and len(attack):
        drawn["roc"] = _svg(lambda axes: _draw_roc(axes, *_rates(benign, attack), len(benign)))
        drawn["det"] = _svg(lambda axes: _draw_det(axes, *_rates(benign, attack)))
    if len(benign):
        drawn["p_values"] = _svg(lambda axes: _draw_p_values(axes, p_value[labels == 0]))
        drawn["reliability"] = _svg(lambda axes: _draw_reliability(axes, p_value[labels == 0]))
    return drawn


def _svg(draw: Callable[[Any], None]) -> str:
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.9, 3.3), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(colors=INK, labelsize=8)
    axes.xaxis.label.set(color=INK, size=9)
    axes.yaxis.label.set(color=INK, size=9)
    draw(axes)
    buffer = io.StringIO()
    with rc_context({"svg.hashsalt": "alknet-firewall"}):  # the same rows give the same page
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def _percent(value: float, _position: int) -> str:
    return f"{100 * value:.4g} %"


def _rates(benign: FloatArray, attack: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return false-alarm and detection rates at every threshold, from the highest down."""
    thresholds = np.unique(np.concatenate([benign, attack]))[::-1]
    fpr = (len(benign) - np.searchsorted(np.sort(benign), thresholds)) / len(benign)
    tpr = (len(attack) - np.searchsorted(np.sort(attack), thresholds)) / len(attack)
    return fpr, tpr


def _draw_roc(axes: Any, fpr: FloatArray, tpr: FloatArray, n_benign: int) -> None:
    least = 0.5 / n_benign
    axes.plot(np.maximum(fpr, least), tpr, color=ATTACK, linewidth=1.8, drawstyle="steps-post")
    for budget in (0.001, 0.01):
        axes.axvline(budget, color=FAINT, linewidth=0.8, linestyle=":")
    axes.set(xscale="log", xlim=(min(least, 5e-4), 1), ylim=(0, 1.01))
    axes.set(xlabel="false-alarm rate", ylabel="attacks detected")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(_percent)


def _draw_det(axes: Any, fpr: FloatArray, tpr: FloatArray) -> None:
    """Draw misses over false alarms on normal deviates (Martin et al., Eurospeech 1997)."""
    deviate = NormalDist().inv_cdf
    inside = (fpr > 0) & (fpr < 1) & (tpr > 0) & (tpr < 1)
    if inside.any():
        x, y = ([deviate(float(rate)) for rate in rates[inside]] for rates in (fpr, 1 - tpr))
        axes.plot(x, y, color=ATTACK, linewidth=1.8)
    ticks = [deviate(tick) for tick in DET_TICKS]
    names = [f"{100 * tick:g} %" for tick in DET_TICKS]
    axes.set_xticks(ticks, names)
    axes.set_yticks(ticks, names)
    ends = (deviate(5e-4), deviate(0.995))
    axes.plot(ends, ends, color=FAINT, linewidth=0.8, linestyle=":")
    axes.grid(color="#eeebe5", linewidth=0.7)
    axes.set(xlim=(ends[0], deviate(0.6)), ylim=(ends[0], ends[1]), xlabel="false alarms", ylabel="attacks missed")


def _draw_scores(axes: Any, benign: FloatArray, attack: FloatArray, survival: Survival | None) -> None:
    everything = np.concatenate([benign, attack])
    bins = np.linspace(everything.min(), everything.max() + 1e-9, BINS)
    for scores, colour, name in ((benign, BENIGN, "benign"), (attack, ATTACK, "attack")):
        if len(scores):
            axes.hist(scores, bins=bins, density=True, alpha=0.5, color=colour, label=name)
    if survival is not None:
        # What the spline expects in each bin: its slope is as rough as the sample it interpolates.
        expected = -np.diff(survival(bins)) / np.diff(bins)
        axes.plot((bins[1:] + bins[:-1]) / 2, expected, color=INK, linewidth=1.3, label="codebook's benign spline")
    axes.set(xlabel="document statistic", ylabel="density", yticks=[])
    axes.legend(frameon=False, fontsize=8, labelcolor=INK)


def _draw_tail(axes: Any, benign: FloatArray, attack: FloatArray, survival: Survival) -> None:
    """Draw the share of benign texts beyond a score, counted and by the spline with its Pareto tail."""
    everything = np.concatenate([benign, attack])
    scores = np.linspace(everything.min(), everything.max(), 300)
    ordered = np.sort(benign)
    counted = np.arange(len(ordered), 0, -1) / len(ordered)
    axes.plot(ordered, counted, color=BENIGN, linewidth=1.8, drawstyle="steps-post", label="benign texts, counted")
    axes.plot(scores, survival(scores), color=INK, linewidth=1.3, label="codebook's benign spline and tail")
    axes.axhline(1 / len(ordered), color=FAINT, linewidth=0.8, linestyle=":")
    axes.set(yscale="log", ylim=(min(1e-4, 0.3 / len(ordered)), 1.5))
    axes.set(xlabel="document statistic", ylabel="benign texts that score higher")
    axes.yaxis.set_major_formatter(_percent)
    axes.legend(frameon=False, fontsize=8, labelcolor=INK)


def _draw_p_values(axes: Any, p_value: FloatArray) -> None:
    count = len(p_value)
    mean = count / P_BINS
    scatter = 1.96 * np.sqrt(mean * (1 - 1 / P_BINS))
    axes.hist(p_value, bins=np.linspace(0, 1, P_BINS + 1), color=BENIGN, alpha=0.7)
    axes.axhspan(max(0.0, mean - scatter), mean + scatter, color=INK, alpha=0.12, linewidth=0)
    axes.axhline(mean, color=INK, linewidth=0.9, linestyle="--", label="uniform, and where 95 % of bins would lie")
    axes.set(xlabel="p-value of benign texts", ylabel="texts", xlim=(0, 1))
    axes.legend(frameon=False, fontsize=8, labelcolor=INK)


def _draw_reliability(axes: Any, p_value: FloatArray) -> None:
    count = len(p_value)
    nominal = np.geomspace(1e-4, 1, 80)
    hits = np.array([(p_value < budget).sum() for budget in nominal])
    low, high = np.array([wilson(int(hit), count) for hit in hits]).T
    least = 0.3 / count
    axes.plot(nominal, nominal, color=INK, linewidth=0.9, linestyle="--", label="chosen = realised")
    axes.fill_between(
        nominal, np.maximum(low, least), high, color=BENIGN, alpha=0.18, linewidth=0, label="95 % interval"
    )
    shown = hits > 0
    axes.plot(nominal[shown], hits[shown] / count, color=BENIGN, linewidth=1.8, label="benign texts flagged")
    axes.set(xscale="log", yscale="log", xlim=(1e-4, 1), ylim=(min(1e-4, least), 1.2))
    axes.set(xlabel="chosen false-alarm rate", ylabel="realised")
    axes.legend(frameon=False, fontsize=8, labelcolor=INK)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(_percent)
