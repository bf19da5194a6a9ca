"""``alknet-firewall recalibrate``: fit a codebook's false-alarm rate to one's own traffic."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from worker.cli.console import errors_shown, opener, out, progress_bars


def recalibrate(
    benign: Annotated[
        list[Path],
        typer.Option(
            help="JSONL(.gz) with text, one benign text of your traffic a line, or a directory of such files; "
            "repeatable. Rows with label 1 are left out. At least 200 texts; 500 or more are better.",
            exists=True,
        ),
    ],
    out_file: Annotated[Path, typer.Option("--out", help="Codebook file to write.")],
    codebook: Annotated[Path | None, typer.Option(help="Codebook to start from; default the one in use.")] = None,
    model: Annotated[str | None, typer.Option(help="Model id or directory; default FIREWALL_MODEL.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the measurement as one JSON object.")] = False,
) -> None:
    """Fit the false-alarm rate of a codebook to your own benign texts.

    A shipped codebook is careful: its p-values hold for the worst of its calibration sources. On your own texts they
    can be exact: more attacks are found at the same rate, or fewer false alarms raised where your texts are unusual.
    Model, probes and adapter stay. Your texts replace the former benign ones; the file keeps their scores and lengths,
    not the texts. Half of them show what that gives on the other half; then all of them make the codebook. Attacks
    among them would raise the thresholds: give texts you trust.
    """
    from worker.codebook.format import save_codebook
    from worker.fitting.dataset import data_files, file_sha256, read_rows
    from worker.fitting.recalibrate import check, halves, replace_benign
    from worker.screening.assets import load_codebook_and_model, make_tokenizer, make_torch_encoder
    from worker.screening.drift import check_golden
    from worker.screening.offline import score_texts
    from worker.screening.screener import prepare
    from worker.settings import load_settings

    overrides: dict[str, object] = {
        name: value for name, value in (("codebook", codebook), ("model", model)) if value is not None
    }
    with errors_shown():
        before, files = load_codebook_and_model(load_settings(**overrides))
        rows = read_rows(benign)
        tokenizer = make_tokenizer(before, files)
        harmless = [row.text for row in rows if row.label != 1 and row.text.strip()]
        texts = [text for text, found in zip(harmless, prepare(tokenizer, harmless), strict=True) if not found.fault()]
        first = halves(texts)
        encoder = make_torch_encoder(before, files, load_settings(**overrides), before.header.model.dtype)
        check_golden(before, tokenizer, encoder)
        with progress_bars() as bars:
            scores, tokens = score_texts(encoder, tokenizer, texts, opener(bars))
        measured = check(before, scores, tokens, first)
        provenance = {
            "from": before.fingerprint,
            "data": [{"file": path.name, "sha256": file_sha256(path)} for path in data_files(benign)],
            "texts": len(texts),
            "left_out": len(rows) - len(texts),
            "measured": measured,
        }
        fingerprint = save_codebook(replace_benign(before, scores, tokens, provenance), out_file)
    if as_json:
        typer.echo(json.dumps({"codebook": fingerprint, **provenance}))
    else:
        _print(provenance, out_file, fingerprint)


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
