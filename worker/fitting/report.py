"""A self-contained HTML page on one evaluation: curves, calibration, groups, and the worst mistakes."""

from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import numpy as np

from schemas.signal import EvidenceSpan
from worker.fitting.charts import Survival, charts
from worker.fitting.dataset import LabelledText, source_group
from worker.fitting.evaluate import LENGTH_BANDS
from worker.fitting.measure import rate
from worker.screening.screener import Finding, Screener

Screened = tuple[LabelledText, Finding]

WORST = 12
EXCERPT = 700
"""Characters of a text shown around its evidence."""
BUDGET = 0.01
MIN_SOURCE = 20
"""Benign texts of a source group below which its rate is not drawn."""


def render_report(
    screened: Sequence[Screened], summary: dict[str, Any], title: str, survival: Survival | None = None
) -> str:
    """Return the page.

    Args:
        screened: Labelled rows with their findings.
        summary: From ``worker.fitting.evaluate.evaluate``.
        title: Names of the files.
        survival: The codebook's benign distribution of the statistic, drawn over that of the rows.
    """
    from jinja2 import Environment

    labels = np.array([row.label for row, _ in screened])
    statistic = np.array([found.statistic for _, found in screened])
    p_value = np.array([found.p_value for _, found in screened])
    # Autoescape: the texts shown are attacks on whatever reads them.
    template = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
        files("worker.fitting").joinpath("report.html.j2").read_text(encoding="utf-8")
    )
    return template.render(
        title=title,
        summary=summary,
        charts=charts(labels, statistic, p_value, survival),
        lengths=_in_order(summary["by_length"]),
        sources=_sources(screened),
        confusion=_confusion(screened),
        false_alarms=[_shown(*pair) for pair in worst(screened, 0)],
        misses=[_shown(*pair) for pair in worst(screened, 1)],
    )


def worst(screened: Sequence[Screened], label: int) -> list[Screened]:
    """Return the benign texts with the smallest, or the attacks with the largest p-values."""
    rows = [pair for pair in screened if pair[0].label == label]
    rows.sort(key=lambda pair: pair[1].p_value, reverse=label == 1)
    return rows[:WORST]


def explain(screener: Screener, screened: Sequence[Screened]) -> list[Screened]:
    """Return the rows, those that the page quotes with evidence even if they are clean."""
    quoted = [pair for label in (0, 1) for pair in worst(screened, label) if not pair[1].evidence]
    found = screener.screen([row.text for row, _ in quoted], bulk=True, explain_clean=True) if quoted else []
    explained = {id(row): finding for (row, _), finding in zip(quoted, found, strict=True)}
    return [
        (row, again if isinstance(again := explained.get(id(row)), Finding) else finding) for row, finding in screened
    ]


def _in_order(by_length: dict[str, Any]) -> dict[str, Any]:
    bands = [name for _, name in LENGTH_BANDS]
    order = sorted(by_length, key=lambda name: bands.index(name.split(" (")[0]))
    return {name: by_length[name] for name in order}


def _sources(screened: Sequence[Screened]) -> list[dict[str, Any]]:
    """Return the false-alarm rate of every benign source group, the highest first."""
    groups: dict[str, list[bool]] = {}
    for row, found in screened:
        if row.label == 0:
            groups.setdefault(source_group(row), []).append(found.p_value < BUDGET)
    rates = [
        {"name": name, **rate(np.array(flags))} for name, flags in groups.items() if name and len(flags) >= MIN_SOURCE
    ]
    return sorted(rates, key=lambda entry: (-entry["rate"], entry["name"]))


def _confusion(screened: Sequence[Screened]) -> dict[str, Any]:
    """Count flagged texts by labelled and by leading signal; and texts that were not flagged."""
    labelled = sorted({row.signal or ("attack" if row.label else "benign") for row, _ in screened})
    leading = sorted({found.leading for _, found in screened if found.severity is not None})
    counts = {name: {"": 0, **dict.fromkeys(leading, 0)} for name in labelled}
    for row, found in screened:
        name = row.signal or ("attack" if row.label else "benign")
        counts[name]["" if found.severity is None else found.leading] += 1
    rows = [
        {"name": name, "n": sum(found.values()), "cells": [(n, n / sum(found.values())) for n in found.values()]}
        for name, found in counts.items()
    ]
    return {"leading": leading, "rows": rows}


def _shown(row: LabelledText, found: Finding) -> dict[str, Any]:
    return {
        "id": row.id,
        "source": row.source,
        "signal": row.signal,
        "p_value": f"{found.p_value:.2g}",
        "severity": found.severity,
        "leading": found.leading,
        "parts": _parts(row.text, found.evidence),
    }


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
