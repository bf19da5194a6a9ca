"""``alknet-firewall recalibrate``: fit a codebook's false-alarm rate to one's own traffic."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from worker.cli.console import errors_shown, opener, out, progress_bars

if TYPE_CHECKING:
    from worker.codebook.format import Codebook
    from worker.fitting.result_scores import ScoredTexts
    from worker.settings import Settings


def recalibrate(
    out_file: Annotated[Path, typer.Option("--out", help="Codebook file to write.")],
    benign: Annotated[
        list[Path] | None,
        typer.Option(
            help="JSONL(.gz) with text, one benign text of your traffic a line, or a directory of such files; "
            "repeatable. Rows with label 1 are left out. At least 200 texts; 500 or more are better.",
            exists=True,
        ),
    ] = None,
    results: Annotated[
        list[Path] | None,
        typer.Option(
            help="Instead of texts: JSONL(.gz) of results that your workers published with this codebook, from "
            "`watch --results --json` or `bulk`; repeatable. They hold scores and no text. Take out those of attacks.",
            exists=True,
        ),
    ] = None,
    codebook: Annotated[Path | None, typer.Option(help="Codebook to start from; default the one in use.")] = None,
    model: Annotated[str | None, typer.Option(help="Model id or directory; default FIREWALL_MODEL.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the measurement as one JSON object.")] = False,
) -> None:
    """Fit the false-alarm rate of a codebook to your own benign texts.

    A shipped codebook is careful: its p-values hold for the worst of its calibration sources. On your own texts they
    can be exact: more attacks are found at the same rate, or fewer false alarms raised where your texts are unusual.
    Model, probes and adapter stay. Your texts replace the former benign ones; the file keeps their scores and lengths,
    not the texts. Half of them show what that gives on the other half; then all of them make the codebook. Attacks
    among them would raise the thresholds: give texts you trust. Leave out no text because it was flagged: without the
    most suspicious benign ones the rate would come out too high.
    """
    from worker.codebook.format import load_codebook, save_codebook
    from worker.codebook.shipped import codebook_path
    from worker.fitting.dataset import data_files, file_sha256
    from worker.fitting.recalibrate import check, halves, replace_benign
    from worker.fitting.result_scores import read_results
    from worker.settings import load_settings

    if bool(benign) == bool(results):
        raise typer.BadParameter("give texts with --benign, or results with --results", param_hint="--benign")
    overrides: dict[str, object] = {
        name: value for name, value in (("codebook", codebook), ("model", model)) if value is not None
    }
    with errors_shown():
        settings = load_settings(**overrides)
        if results:
            before = load_codebook(codebook_path(settings.model, settings.codebook))
            sample = read_results(results, before)
        else:
            before, sample = _score(benign or [], settings)
        measured = check(before, sample.scores, sample.tokens, halves(sample.names))
        provenance = {
            "from": before.fingerprint,
            "data": [{"file": path.name, "sha256": file_sha256(path)} for path in data_files(results or benign or [])],
            "texts": len(sample.names),
            "left_out": sample.left_out,
            "measured": measured,
        }
        changed = replace_benign(before, sample.scores, sample.tokens, provenance)
        fingerprint = save_codebook(changed, out_file)
    if as_json:
        typer.echo(json.dumps({"codebook": fingerprint, **provenance}))
    else:
        _print(provenance, out_file, fingerprint)


def _score(benign: list[Path], settings: "Settings") -> "tuple[Codebook, ScoredTexts]":
    """Score texts in the arithmetic the codebook was calibrated in."""
    from worker.fitting.dataset import read_rows
    from worker.fitting.recalibrate import halves
    from worker.fitting.result_scores import ScoredTexts
    from worker.screening.assets import load_codebook_and_model, make_tokenizer, make_torch_encoder
    from worker.screening.drift import check_golden
    from worker.screening.offline import score_texts
    from worker.screening.screener import prepare

    codebook, files = load_codebook_and_model(settings)
    rows = read_rows(benign)
    tokenizer = make_tokenizer(codebook, files)
    harmless = [row.text for row in rows if row.label != 1 and row.text.strip()]
    texts = [text for text, found in zip(harmless, prepare(tokenizer, harmless), strict=True) if not found.fault()]
    halves(texts)  # too few are told before any is scored
    encoder = make_torch_encoder(codebook, files, settings, codebook.header.model.dtype)
    check_golden(codebook, tokenizer, encoder)
    with progress_bars() as bars:
        scores, tokens = score_texts(encoder, tokenizer, texts, opener(bars))
    return codebook, ScoredTexts(texts, scores, tokens, left_out=len(rows) - len(texts))


def _print(provenance: dict[str, Any], out_file: Path, fingerprint: str) -> None:
    from rich.table import Table

    measured = provenance["measured"]
    out.print(
        f"calibrated on {measured['calibrated_on']:,} of the texts, measured on the other {measured['measured_on']:,}:",
        highlight=False,
    )
    table = Table("severity", "budget", "false alarms before", "95 % interval", "after", "95 % interval")
    for severity, found in measured["false_alarms"].items():
        cells = [cell for rate in (found["before"], found["after"]) for cell in _cells(rate)]
        table.add_row(severity, f"{found['budget']:.2%}", *cells)
    out.print(table)
    notice = measured["false_alarms"]["notice"]
    low, high = notice["expected"]
    out.print(
        f"with {provenance['texts']:,} texts, expect {low:.2%} to {high:.2%} at the {notice['budget']:.0%} budget; "
        "more texts narrow that",
        highlight=False,
    )
    table = Table("length", "texts", "p-values uniform (Kolmogorov-Smirnov)")
    for stratum in measured["uniform"]:
        shown = "" if stratum["ks_p"] is None else f"p = {stratum['ks_p']:.2g}"
        table.add_row(f"from {stratum['from_tokens']} tokens", f"{stratum['texts']:,}", shown)
    out.print(table)
    out.print(
        f"{out_file}: codebook {fingerprint}, calibrated on all {provenance['texts']:,} texts"
        f" ({provenance['left_out']:,} rows left out); use it: FIREWALL_CODEBOOK={out_file}",
        highlight=False,
    )


def _cells(rate: dict[str, Any]) -> tuple[str, str]:
    return f"{rate['rate']:.2%}", f"{rate['low']:.2%} to {rate['high']:.2%}"
