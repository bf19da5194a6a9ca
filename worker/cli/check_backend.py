"""``alknet-firewall check-backend``: whether another arithmetic leaves p-values what they are."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from worker.cli.console import ExitCode, errors_shown, out


def check_backend(
    data: Annotated[list[Path], typer.Argument(help="JSONL or JSONL.gz with text; repeatable.", exists=True)],
    dtype: Annotated[
        Literal["float32", "bfloat16"], typer.Option(help="Arithmetic of the torch backend to check.")
    ] = "bfloat16",
    export: Annotated[
        Path | None, typer.Option(help="Check this export instead, a directory made by `alknet-firewall export`.")
    ] = None,
    limit: Annotated[int, typer.Option(help="Texts to score at most, evenly spread over the rows.", min=1)] = 4000,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Score texts in the codebook's arithmetic and in another one, and compare the p-values.

    Exits with 1 if they differ by more than is tolerated. An export that carries a calibration of its own is expected
    to differ; it is shown what that calibration is for. Needs the torch extra.
    """
    from worker.fitting.checking import check_other
    from worker.fitting.dataset import read_rows
    from worker.screening.drift import MAX_FACTOR, MAX_LOGIT, MAX_SHIFT
    from worker.settings import load_settings

    with errors_shown():
        texts = [row.text for row in read_rows(data)]
        name, drift = check_other(load_settings(), texts[:: -(-len(texts) // limit)], dtype=dtype, export=export)
    if as_json:
        typer.echo(json.dumps({"backend": name, "tolerable": drift.tolerable, **asdict(drift)}))
    else:
        changed = ", ".join(f"{count} {severity}" for severity, count in drift.changed.items())
        out.print(
            f"{name}, {drift.texts} texts: logits within {drift.logit:.3f} (tolerated {MAX_LOGIT}); p-values within a "
            f"factor of {drift.factor:.2f} ({MAX_FACTOR}), 99 % within {drift.factor_99:.2f}, shift {drift.shift:+.4f} "
            f"({MAX_SHIFT}); verdicts changed: {changed}",
            highlight=False,
        )
    raise typer.Exit(ExitCode.OK if drift.tolerable else ExitCode.NEGATIVE)
