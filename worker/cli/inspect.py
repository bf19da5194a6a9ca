"""``alknet-firewall inspect``: what a codebook is."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from worker.cli.console import errors_shown, out
from worker.cli.verdicts import one_line


def inspect(
    codebook: Annotated[Path | None, typer.Argument(help="Codebook file; default the one in use.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show a codebook: its model, signals, budgets, calibration sample and provenance."""
    from worker.codebook.format import load_codebook
    from worker.codebook.shipped import codebook_path
    from worker.settings import load_settings

    with errors_shown():
        settings = load_settings()
        path = codebook or codebook_path(settings.model, settings.codebook)
        loaded = load_codebook(path)
    described = _describe(loaded, path)
    if as_json:
        typer.echo(json.dumps(described))
        return
    from rich.table import Table

    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in described.items():
        if isinstance(value, dict):
            table.add_row(name, "")
            for key, entry in value.items():
                table.add_row(f"  {_shown(key)}", _shown(entry))
        else:
            table.add_row(name, _shown(value))
    out.print(table, highlight=False)


def _describe(codebook: Any, path: Path) -> dict[str, Any]:
    import numpy as np

    from worker.screening.policy import Policy

    header, policy = codebook.header, Policy()
    strata = np.bincount(codebook.stratum_of(codebook.benign_tokens), minlength=len(header.strata) + 1)
    borders = [0, *header.strata]
    return {
        "file": str(path),
        "bytes": path.stat().st_size,
        "fingerprint": codebook.fingerprint,
        "format_version": header.format_version,
        "model": header.model.model_dump(mode="json"),
        "window": header.window.model_dump(mode="json"),
        "basis": {"rank": codebook.basis.rank, "explained_variance": header.explained_variance},
        "probe": {"heads": codebook.probe.n_heads},
        "signals": {signal: "counts" if signal in policy.signals else "scored only" for signal in header.signals},
        "budgets": policy.budgets,
        "calibration": {
            f"from {border} tokens": f"{count} benign documents; p-values under {2 / (count + 1):.1e} are extrapolated"
            for border, count in zip(borders, strata.tolist(), strict=True)
        },
        "golden": {"texts": len(header.golden.texts), "tolerance": header.golden.tolerance},
        "provenance": header.provenance,
    }


def _shown(value: object) -> str:
    """Return a value as a cell; a codebook may come from anyone, and say anything to a terminal."""
    return escape(one_line(value if isinstance(value, str) else json.dumps(value)))
