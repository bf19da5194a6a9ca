"""Charts of a bulk run, as SVG text that needs nothing else."""

import io
from collections.abc import Callable
from typing import Any

from worker.bulk.tally import P_BINS, SCORE_STEP, TAIL, Tally

CLEAN, FLAGGED, INK, FAINT = "#2f6f8f", "#c8452d", "#333333", "#b9b3a8"
STEPS = 24
"""Steps of the throughput's line, about."""


def charts(tally: Tally) -> dict[str, str]:
    """Return the charts that the figures allow, by name."""
    screened = tally.clean + tally.flagged
    drawn = {}
    if screened:
        drawn["p_values"] = _svg(lambda axes: _draw_p_values(axes, tally.p_values))
        drawn["tail"] = _svg(lambda axes: _draw_tail(axes, tally.tail, screened))
        drawn["scores"] = _svg(lambda axes: _draw_scores(axes, tally.scores, tally.flagged_scores))
    if len(tally.throughput) > 1:
        drawn["throughput"] = _svg(lambda axes: _draw_throughput(axes, tally.throughput, tally.bucket_s))
    return drawn


def _svg(draw: Callable[[Any], None]) -> str:
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.9, 2.9), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(colors=INK, labelsize=8)
    axes.xaxis.label.set(color=INK, size=9)
    axes.yaxis.label.set(color=INK, size=9)
    draw(axes)
    buffer = io.StringIO()
    with rc_context({"svg.hashsalt": "alknet-firewall"}):  # the same figures give the same page
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def _draw_p_values(axes: Any, counts: list[int]) -> None:
    total = sum(counts)
    left = [place / P_BINS for place in range(P_BINS)]
    axes.bar(left, counts, width=0.92 / P_BINS, align="edge", color=CLEAN, alpha=0.8)
    axes.axhline(total / P_BINS, color=INK, linewidth=0.9, linestyle="--", label="if all were benign")
    axes.set(xlim=(0, 1), xlabel="p-value", ylabel="rows")
    _whole_thousands(axes.yaxis)
    _legend(axes)


def _draw_tail(axes: Any, under: list[int], total: int) -> None:
    from matplotlib.ticker import NullLocator

    shown = [(bound, count / total) for bound, count in zip(TAIL, under, strict=True) if count]
    axes.plot((min(TAIL), 1), (min(TAIL), 1), color=INK, linewidth=0.9, linestyle="--", label="if all were benign")
    if shown:
        axes.plot(*zip(*shown, strict=True), color=FLAGGED, linewidth=1.6, marker="o", markersize=4, label="found")
    axes.set(xscale="log", yscale="log", xlabel="p-value", ylabel="share of rows under it")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: f"{100 * value:.4g} %")
        axis.set_minor_locator(NullLocator())
    _legend(axes)


def _draw_scores(axes: Any, clean: dict[int, int], flagged: dict[int, int]) -> None:
    places = sorted({*clean, *flagged})
    left = [place * SCORE_STEP for place in places]
    below = [clean.get(place, 0) for place in places]
    bars = {"width": SCORE_STEP, "align": "edge", "alpha": 0.8}
    axes.bar(left, below, color=CLEAN, label="clean", **bars)
    axes.bar(left, [flagged.get(place, 0) for place in places], bottom=below, color=FLAGGED, label="flagged", **bars)
    axes.set(xlabel="document statistic (higher is more suspicious)", ylabel="rows")
    _whole_thousands(axes.yaxis)
    _legend(axes)


def _draw_throughput(axes: Any, rows: list[int], bucket_s: float) -> None:
    unit, name = (60.0, "minutes") if len(rows) * bucket_s > 300 else (1.0, "seconds")
    # Rows come by the job: narrow steps would show the jobs, not the speed.
    joined = max(1, len(rows) // STEPS)
    rates = [sum(rows[i : i + joined]) / (len(rows[i : i + joined]) * bucket_s) for i in range(0, len(rows), joined)]
    times = [place * joined * bucket_s / unit for place in range(len(rates))]
    times, rates = [*times, len(rows) * bucket_s / unit], [*rates, rates[-1]]
    axes.fill_between(times, rates, step="post", color=CLEAN, alpha=0.35, linewidth=0)
    axes.step(times, rates, where="post", color=CLEAN, linewidth=1.3)
    axes.set(ylim=(0, None), xlim=(0, times[-1]), xlabel=f"{name} of work", ylabel="rows a second")


def _legend(axes: Any) -> None:
    """Name what is drawn above the axes, where no bar can be behind the words."""
    axes.legend(
        frameon=False, fontsize=8, labelcolor=INK, ncols=2, loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0
    )


def _whole_thousands(axis: Any) -> None:
    """Mark whole numbers only: a count of 2.5 rows would be written as 2."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator("auto", integer=True, steps=[1, 2, 5, 10]))
    axis.set_major_formatter(lambda value, _: f"{value:,.0f}")
