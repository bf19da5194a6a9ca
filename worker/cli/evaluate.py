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
    baselines: Annotated[
        list[Path] | None,
        typer.Option(
            help="Labelled JSONL(.gz) with signals, or a directory of such files, to fit two baselines on: TF-IDF and "
            "mean-pooled activations, each with logistic regression. They are measured on the same rows; repeatable.",
            exists=True,
        ),
    ] = None,
    commercial_only: Annotated[
        bool, typer.Option(help="Fit the baselines without rows whose license forbids commercial use or states none.")
    ] = False,
    cache: Annotated[Path, typer.Option(help="Directory for the baselines' activations.")] = Path(".cache/quality"),
) -> None:
    """Screen labelled texts through the worker's own code and print how well it did.

    harmful_request rows are left out of the measures: the default policy does not look for them.
    """
    from schemas.signal import SIGNALS
    from worker.fitting.dataset import read_rows
    from worker.fitting.evaluate import as_record, counted, screen_rows
    from worker.fitting.evaluate import evaluate as measure
    from worker.screening.loading import load_screener
    from worker.screening.policy import Policy
    from worker.settings import load_settings

    overrides: dict[str, object] = {
        name: value for name, value in (("codebook", codebook), ("model", model)) if value is not None
    }
    left_out = frozenset(SIGNALS) - frozenset(Policy().signals)
    with errors_shown():
        rows, train = read_rows(data), read_rows(baselines or [], commercial_only=commercial_only)
        screener = load_screener(load_settings(**overrides))
        with progress_bars() as bars:
            outcomes = list(screen_rows(screener, rows, opener(bars)("screened", len(rows))))
        page = _page(screener, counted(outcomes, left_out), data) if html else None
        screener.engine.stop()
    if as_json is not None:
        lines = "".join(json.dumps(as_record(row, found)) + "\n" for row, found in outcomes)
        _write(as_json, lines)
    if not any(row.label is not None for row in rows):
        err.print("[dim]no row has a label (0 or 1), so there is nothing to measure[/]")
        return
    measured = measure(outcomes, left_out=left_out)
    if baselines:
        with errors_shown():
            measured["baselines"] = _baselines([row for row, _ in counted(outcomes, left_out)], train, overrides, cache)
    if summary is not None:
        _write(summary, json.dumps(measured, indent=2) + "\n")
    if html is not None and page is not None:
        _write(html, page(measured))
    if as_json != Path("-"):
        _print(measured)


def _baselines(rows: Any, train: Any, overrides: dict[str, object], cache: Path) -> dict[str, Any]:
    from worker.fitting.baselines import compare, fit_baselines
    from worker.model.torch_encoder import use_threads
    from worker.screening.assets import arithmetic_threads, load_codebook_and_model, make_tokenizer
    from worker.settings import load_settings

    settings = load_settings(**overrides)
    codebook, files = load_codebook_and_model(settings)
    use_threads(arithmetic_threads(settings))
    layer = max(codebook.header.model.layers)
    with progress_bars() as bars:
        tokenizer = make_tokenizer(codebook, files)
        return compare(fit_baselines(files, tokenizer, layer, train, cache, opener(bars)), rows)


def _page(screener: Any, screened: Any, data: list[Path]) -> Any:
    """Return a function from the summary to the page; what it needs of the screener is taken now."""
    import numpy as np

    from worker.errors import MissingExtra
    from worker.screening.policy import Policy
    from worker.screening.scoring import Scorer

    try:
        import jinja2  # noqa: F401
        import matplotlib as mpl  # noqa: F401
    except ImportError as error:
        raise MissingExtra(f"{error.name} is not installed: pip install 'alknet-firewall[calibrate]'") from None
    from worker.fitting.report import explain, render_report

    explained = explain(screener, screened)
    scorer = Scorer(screener.codebook, Policy())
    tokens = np.array([found.tokens for row, found in explained if row.label == 0], dtype=np.int32)
    survival = (lambda statistic: scorer.benign_survival(statistic, tokens)) if len(tokens) else None
    return lambda measured: render_report(explained, measured, ", ".join(path.name for path in data), survival)


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
        out.print(_rankings(measured))
    table = Table("budget", "false alarms", "95 % interval", "detected", "95 % interval", title_justify="left")
    for budget, false in measured["false_alarms"].items():
        detected = measured["detected"][budget]
        table.add_row(f"{float(budget):.1%}", *_cells(false), *_cells(detected))
    out.print(table)
    table = Table("signal", "rows", "flagged at 1 %", "95 % interval")
    for name, group in measured["by_signal"].items():
        table.add_row(name, str(group["flagged"]["n"]), *_cells(group["flagged"]))
    out.print(table)


def _rankings(measured: dict[str, Any]) -> Any:
    """Return a table of the codebook and of the baselines, if they were asked for."""
    from rich.table import Table

    rates = list(measured["tpr_at_fpr"])
    table = Table()
    table.add_column("method", no_wrap=True)
    for heading in ("AUC", "95 % interval", *(f"detected at {float(rate):.1%}" for rate in rates)):
        table.add_column(heading)
    table.caption, table.caption_justify = "thresholds of these rates are chosen on this file", "left"
    for name, found in {"codebook": measured, **measured.get("baselines", {})}.items():
        low, high = found["auc_interval"]
        shown = [f"{found['tpr_at_fpr'][rate]:.3f}" for rate in rates]
        table.add_row(name, f"{found['auc']:.4f}", f"{low:.4f} to {high:.4f}", *shown)
    return table


def _cells(rate: dict[str, Any]) -> tuple[str, str]:
    if rate["rate"] is None:
        return "", ""
    return f"{rate['rate']:.2%}", f"{rate['low']:.2%} to {rate['high']:.2%}"
