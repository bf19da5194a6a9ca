"""Screen labelled texts offline, through the very code the worker runs."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from worker.errors import EmptyText, FirewallError
from worker.fitting.dataset import LabelledText
from worker.fitting.measure import summarise
from worker.screening.screener import Finding, Screener

CHUNK = 256
LENGTH_BANDS = (
    (0, "under 100 characters"),
    (100, "100 to 999"),
    (1000, "1,000 to 4,999"),
    (5000, "5,000 and more"),
)


def screen_rows(
    screener: Screener, rows: Sequence[LabelledText], advance: Callable[[int], None]
) -> Iterator[tuple[LabelledText, Finding | FirewallError]]:
    """Screen rows in order. Yields each row with its finding or its error."""
    for start in range(0, len(rows), CHUNK):
        chunk = rows[start : start + CHUNK]
        texts = [row.text for row in chunk if row.text.strip()]
        findings = iter(screener.screen(texts, bulk=True) if texts else [])
        for row in chunk:
            yield row, next(findings) if row.text.strip() else EmptyText("field text is empty", field="text")
        advance(len(chunk))


def as_record(row: LabelledText, outcome: Finding | FirewallError) -> dict[str, Any]:
    """Return one line of the ``--json`` output."""
    if isinstance(outcome, FirewallError):
        return {"id": row.id, "error": outcome.info().model_dump()}
    return {
        "id": row.id,
        "score": outcome.statistic,
        "p_value": outcome.p_value,
        "extrapolated": outcome.extrapolated,
        "alarm": outcome.severity is not None,
        "severity": outcome.severity,
        "signals": [score.model_dump() for score in outcome.signals],
        "evidence": [span.model_dump(exclude_none=True) for span in outcome.evidence],
    }


def evaluate(
    outcomes: Sequence[tuple[LabelledText, Finding | FirewallError]],
    *,
    left_out: frozenset[str] = frozenset(),
) -> dict[str, Any]:
    """Summarise screened rows.

    Args:
        outcomes: From ``screen_rows``.
        left_out: Signals whose attack rows do not count, because the policy does not look for them.
    """
    measured = counted(outcomes, left_out)
    summary = summarise(
        np.array([found.statistic for _, found in measured]),
        np.array([found.p_value for _, found in measured]),
        np.array([row.label for row, _ in measured], dtype=np.int64),
        {
            "signal": [row.signal or "" for row, _ in measured],
            "source": [row.source for row, _ in measured],
            "language": [row.language for row, _ in measured],
            "length": [_band(len(row.text)) for row, _ in measured],
        },
    )
    screened = sum(isinstance(found, Finding) for _, found in outcomes)
    return summary | {"errors": len(outcomes) - screened, "left_out": screened - len(measured)}


def counted(
    outcomes: Sequence[tuple[LabelledText, Finding | FirewallError]], left_out: frozenset[str]
) -> list[tuple[LabelledText, Finding]]:
    """Return the rows that are measured: screened, with a label, and of no signal that is left out."""
    return [
        (row, found)
        for row, found in outcomes
        if isinstance(found, Finding) and row.label is not None and row.signal not in left_out
    ]


def _band(length: int) -> str:
    return [name for least, name in LENGTH_BANDS if length >= least][-1]
