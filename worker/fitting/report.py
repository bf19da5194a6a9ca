"""A self-contained HTML page on one evaluation: curves, calibration, groups, and the worst mistakes."""

import io
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.signal import EvidenceSpan
from worker.fitting.dataset import LabelledText
from worker.screening.screener import Finding

FloatArray = npt.NDArray[np.float64]
Screened = tuple[LabelledText, Finding]

WORST = 12
EXCERPT = 700
"""Characters of a text shown around its evidence."""

BENIGN, ATTACK, INK = "#2f6f8f", "#c8452d", "#333333"


def render_report(screened: Sequence[Screened], summary: dict[str, Any], title: str) -> str:
    """Return the page.

    Args:
        screened: Labelled rows with their findings.
        summary: From ``worker.fitting.evaluate.evaluate``.
        title: Names of the files.
    """
    from jinja2 import Environment

    labels = np.array([row.label for row, _ in screened])
    statistic = np.array([found.statistic for _, found in screened])
    p_value = np.array([found.p_value for _, found in screened])
    # Autoescape: the texts shown are attacks on whatever reads them.
    template = Environment(autoescape=True).from_string(
        files("worker.fitting").joinpath("report.html.j2").read_text(encoding="utf-8")
    )
    return template.render(
        title=title,
        summary=summary,
        charts=charts(labels, statistic, p_value),
        false_alarms=_worst(screened, 0),
        misses=_worst(screened, 1),
    )


def charts(labels: npt.NDArray[np.int64], statistic: FloatArray, p_value: FloatArray) -> dict[str, str]:
    """Return the charts as SVG text."""
    benign, attack = statistic[labels == 0], statistic[labels == 1]
    drawn = {
        "scores": _svg(lambda axes: _draw_scores(axes, benign, attack)),
        "p_values": _svg(lambda axes: _draw_p_values(axes, p_value[labels == 0])),
    }
    if len(benign) and len(attack):
        drawn["roc"] = _svg(lambda axes: _draw_roc(axes, benign, attack))
        drawn["reliability"] = _svg(lambda axes: _draw_reliability(axes, p_value[labels == 0]))
    return drawn


def _svg(draw: Any) -> str:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6, 3.2), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=INK, labelsize=8)
    draw(axes)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def _draw_roc(axes: Any, benign: FloatArray, attack: FloatArray) -> None:
    thresholds = np.unique(np.concatenate([benign, attack]))[::-1]
    fpr = (len(benign) - np.searchsorted(np.sort(benign), thresholds)) / len(benign)
    tpr = (len(attack) - np.searchsorted(np.sort(attack), thresholds)) / len(attack)
    axes.plot(np.maximum(fpr, 0.5 / len(benign)), tpr, color=ATTACK, linewidth=1.8)
    for budget in (0.001, 0.01):
        axes.axvline(budget, color="#bbbbbb", linewidth=0.8, linestyle=":")
    axes.set(xscale="log", ylim=(0, 1.01), xlabel="false-alarm rate", ylabel="attacks detected")


def _draw_scores(axes: Any, benign: FloatArray, attack: FloatArray) -> None:
    everything = np.concatenate([benign, attack])
    bins = np.linspace(everything.min(), everything.max() + 1e-9, 60)
    for scores, colour, name in ((benign, BENIGN, "benign"), (attack, ATTACK, "attack")):
        if len(scores):
            axes.hist(scores, bins=bins, density=True, alpha=0.6, color=colour, label=name)
    axes.set(xlabel="document statistic", ylabel="density", yticks=[])
    axes.legend(frameon=False, fontsize=8)


def _draw_p_values(axes: Any, p_value: FloatArray) -> None:
    if len(p_value):
        axes.hist(p_value, bins=np.linspace(0, 1, 21), color=BENIGN, alpha=0.8)
        axes.axhline(len(p_value) / 20, color=INK, linewidth=0.9, linestyle="--")
    axes.set(xlabel="p-value of benign texts (dashed: uniform)", ylabel="texts")


def _draw_reliability(axes: Any, p_value: FloatArray) -> None:
    nominal = np.geomspace(1e-4, 1, 60)
    realised = np.array([(p_value < budget).mean() for budget in nominal])
    shown = realised > 0
    axes.plot(nominal, nominal, color="#bbbbbb", linewidth=0.9, linestyle="--")
    axes.plot(nominal[shown], realised[shown], color=BENIGN, linewidth=1.8)
    axes.set(xscale="log", yscale="log", xlabel="chosen false-alarm rate", ylabel="realised")


def _worst(screened: Sequence[Screened], label: int) -> list[dict[str, Any]]:
    """Return the benign texts with the highest, or the attacks with the lowest statistic."""
    rows = [(row, found) for row, found in screened if row.label == label]
    rows.sort(key=lambda pair: pair[1].p_value, reverse=label == 1)
    return [
        {
            "id": row.id,
            "source": row.source,
            "signal": row.signal,
            "p_value": f"{found.p_value:.2g}",
            "leading": found.leading,
            "parts": _parts(row.text, found.evidence),
        }
        for row, found in rows[:WORST]
    ]


def _parts(text: str, evidence: list[EvidenceSpan]) -> list[tuple[str, bool]]:
    """Cut a text around its evidence into pieces that are marked or not."""
    start = max(0, min((span.start for span in evidence), default=0) - EXCERPT // 3)
    end = min(len(text), start + EXCERPT)
    parts: list[tuple[str, bool]] = [("… ", False)] if start else []
    position = start
    for span in sorted(evidence, key=lambda span: span.start):
        if span.end <= position or span.start >= end:
            continue
        parts.append((text[position : max(position, span.start)], False))
        parts.append((text[max(position, span.start) : min(span.end, end)], True))
        position = min(span.end, end)
    parts.append((text[position:end] + (" …" if end < len(text) else ""), False))
    return parts
