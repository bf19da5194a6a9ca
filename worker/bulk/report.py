"""A self-contained HTML page on one bulk run. It quotes the texts with the smallest p-values."""

from datetime import datetime
from importlib.resources import files
from typing import Any

from schemas.signal import SEVERITIES, SIGNALS
from worker.bulk.checkpoint import Checkpoint
from worker.bulk.tally import TAIL, Tally
from worker.errors import MissingExtra

MAX_INPUTS_SHOWN = 15


def render_report(tally: Tally, checkpoint: Checkpoint) -> str:
    """Return the page.

    Raises:
        MissingExtra: jinja2 or matplotlib is not installed.
    """
    try:
        from jinja2 import Environment

        from worker.bulk.charts import charts

        drawn = charts(tally)
    except ImportError as error:
        raise MissingExtra(f"{error.name} is not installed: pip install 'alknet-firewall[bulk]'") from None
    # Autoescape: the texts shown are attacks on whatever reads them.
    template = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
        files("worker.bulk").joinpath("report.html.j2").read_text(encoding="utf-8")
    )
    return template.render(
        run=checkpoint,
        source=checkpoint.plan["job"][0],
        policy=checkpoint.plan["job"][1],
        tally=tally,
        charts=drawn,
        budgets=_budgets(tally),
        severities=[(name, tally.by_severity[name]) for name in reversed(SEVERITIES)],
        signals=_counts({name: tally.by_signal[name] for name in SIGNALS}),
        codes=_counts(dict(tally.by_code)),
        inputs=_inputs(tally),
        more_inputs=max(0, len(tally.by_input) - MAX_INPUTS_SHOWN),
        duration=_duration(checkpoint.seconds),
        begun=f"{datetime.fromisoformat(checkpoint.created):%Y-%m-%d %H:%M} UTC",
    )


def _budgets(tally: Tally) -> list[dict[str, float]]:
    """Return how many rows lie under a p-value, and how many benign ones would."""
    screened = tally.clean + tally.flagged
    wanted = {0.01, 0.001, 0.0001}
    return [
        {"bound": bound, "found": found, "expected": bound * screened}
        for bound, found in zip(TAIL, tally.tail, strict=True)
        if bound in wanted and screened
    ]


def _counts(counts: dict[str, int]) -> list[dict[str, Any]]:
    most = max(counts.values(), default=0)
    rows = [{"name": name, "count": count, "share": count / most} for name, count in counts.items() if count]
    return sorted(rows, key=lambda row: -row["count"])


def _inputs(tally: Tally) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {"name": name, "rows": rows, "flagged": flagged, "share": flagged / rows}
        for name, (rows, flagged) in tally.by_input.items()
    ]
    return sorted(found, key=lambda row: (-row["flagged"], -row["share"], row["name"]))[:MAX_INPUTS_SHOWN]


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
