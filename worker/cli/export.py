"""``alknet-firewall export``: make a graph that a worker without torch runs."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from worker.cli.console import errors_shown, opener, out, progress_bars


def export(
    directory: Annotated[Path, typer.Option("--out", help="Directory to write: graph, tokenizer, codebook, manifest.")],
    dtype: Annotated[Literal["float32", "int8"], typer.Option(help="Arithmetic of the graph.")] = "float32",
    calibration: Annotated[
        list[Path] | None,
        typer.Option(
            help="With int8: the files the codebook was fitted on (of these, the rows it was calibrated on count), or "
            "benign rows of your own traffic, JSONL with text and label 0; repeatable.",
            exists=True,
        ),
    ] = None,
    commercial_only: Annotated[
        bool, typer.Option(help="Leave out calibration rows whose licence forbids commercial use or states none.")
    ] = False,
    codebook: Annotated[Path | None, typer.Option(help="Codebook file; default the one in use.")] = None,
    model: Annotated[str | None, typer.Option(help="Model id or directory; default FIREWALL_MODEL.")] = None,
) -> None:
    """Write the truncated model with adapter and probe inside as an ONNX graph.

    Where the worker runs, onnxruntime is enough (pip install 'alknet-firewall[onnx]'): copy the directory there and
    set FIREWALL_EXPORT to it. Exporting needs the extra export. The graph is proved on the golden texts before it is
    kept.
    """
    from worker.fitting.exporting import export_encoder
    from worker.settings import load_settings

    overrides: dict[str, object] = {
        name: value for name, value in (("codebook", codebook), ("model", model)) if value is not None
    }
    with errors_shown(), progress_bars() as bars:
        manifest, drift = export_encoder(
            load_settings(**overrides),
            directory,
            dtype=dtype,
            calibration=calibration or [],
            commercial_only=commercial_only,
            progress=opener(bars),
        )
    size = sum(file.stat().st_size for file in directory.iterdir())
    out.print(
        f"{directory}: {manifest.model} in {manifest.dtype}, {size:,} bytes, codebook {manifest.codebook}; golden "
        f"texts: logits within {drift.logit:.4f}, p-values within a factor of {drift.factor:.2f}",
        highlight=False,
    )
