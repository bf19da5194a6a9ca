"""``alknet-firewall evaluate``: screen labelled texts offline and measure."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from worker.cli.console import err, errors_shown, opener, out, progress_bars


def evaluate(
    data: Annotated[
        list[Path], typer.Argument(help="JSONL or JSONL.gz with text, label; optional id, signal, source.", exists=True)
    ],
    codebook: Annotated[Path | None, typer.Option(help="Codebook file; default the one in use.")] = None,
    model: Annotated[str | None, typer.Option(help="Model id or directory; default FIREWALL_MODEL.")] = None,
    as_json: Annotated[
        Path | None,
        typer.Option("--json", help="Write one JSON line per row to this file (- for standard output)."),
    ] = None,
    summary: Annotated[Path | None, typer.Option(help="Write the summary as one JSON object to this file.")] = None,
    html: Annotated[
        Path | None, typer.Option(help="Write a self-contained page to this file; it quotes the worst mistakes.")
    ] = None,
) -> None:
    """Screen labelled texts through the worker's own code and print how well it did.

    harmful_request rows are left out of the measures: the default policy does not look for them.
    """
    from schemas.signal import SIGNALS
    from worker.fitting.dataset import read_rows
    from worker.fitting.evaluate import as_record, screen_rows
    from worker.fitting.evaluate import evaluate as measure
    from worker.screening.loading import load_screener
    from worker.screening.policy import Policy
    from worker.settings import load_settings

    overrides: dict[str, object] = {
        name: value for name, value in (("codebook", codebook), ("model", model)) if value is not None
    }
    with errors_shown():
        rows = read_rows(data)
        screener = load_screener(load_settings(**overrides))
        with progress_bars() as bars:
            outcomes = list(screen_rows(screener, rows, opener(bars)("screened", len(rows))))
        screener.engine.stop()
    if as_json is not None:
        lines = "".join(json.dumps(as_record(row, found)) + "\n" for row, found in outcomes)
        _write(as_json, lines)
    if not any(row.label is not None for row in rows):
        err.print("[dim]no row has a label (0 or 1), so there is nothing to measure[/]")
    else:
        measured = measure(outcomes, left_out=frozenset(SIGNALS) - frozenset(Policy().signals))
        if summary is not None:
            _write(summary, json.dumps(measured, indent=2) + "\n")
        if html is not None:
            _write(html, _page(outcomes, measured, data))
        if as_json != Path("-"):
            _print(measured)


def _page(outcomes: Any, measured: dict[str, Any], data: list[Path]) -> str:
    from worker.errors import MissingExtra
    from worker.screening.screener import Finding

    try:
        from worker.fitting.report import render_report

        rows = [(row, found) for row, found in outcomes if isinstance(found, Finding) and row.label is not None]
        return render_report(rows, measured, ", ".join(path.name for path in data))
    except ImportError as error:
        raise MissingExtra(f"{error.name} is not installed: pip install 'alknet-firewall[calibrate]'") from None


def _write(path: Path, text: str) -> None:
    if path == Path("-"):
        typer.echo(text, nl=False)
    else:
        path.write_text(text, encoding="utf-8")


def _print(measured: dict[str, Any]) -> None:
    from rich.table import Table

    out.print(
        f"{measured['rows']} rows: {measured['benign']} benign, {measured['attack']} attacks; "
        f"{measured['left_out']} left out (no label, or a signal the policy does not look for), "
        f"{measured['errors']} could not be screened",
        highlight=False,
    )
    if "auc" in measured:
        low, high = measured["auc_interval"]
        rates = ", ".join(f"{tpr:.3f} at {float(fpr):.1%}" for fpr, tpr in measured["tpr_at_fpr"].items())
        out.print(
            f"AUC {measured['auc']:.4f} [{low:.4f}, {high:.4f}]; with thresholds chosen on this file: {rates}",
            highlight=False,
        )
    table = Table("budget", "false alarms", "95 % interval", "detected", "95 % interval", title_justify="left")
    for budget, false in measured["false_alarms"].items():
        detected = measured["detected"][budget]
        table.add_row(f"{float(budget):.1%}", *_cells(false), *_cells(detected))
    out.print(table)
    table = Table("signal", "rows", "flagged at 1 %", "95 % interval")
    for name, group in measured["by_signal"].items():
        table.add_row(name, str(group["flagged"]["n"]), *_cells(group["flagged"]))
    out.print(table)


def _cells(rate: dict[str, Any]) -> tuple[str, str]:
    if rate["rate"] is None:
        return "", ""
    return f"{rate['rate']:.2%}", f"{rate['low']:.2%} to {rate['high']:.2%}"
