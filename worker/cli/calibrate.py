"""``alknet-firewall calibrate``: fit a codebook."""

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from worker.cli.console import err, errors_shown, opener, out, progress_bars


def calibrate(
    train: Annotated[
        list[Path],
        typer.Option(
            help="JSONL(.gz) with text, label, signal, or a directory of such files; repeatable.", exists=True
        ),
    ],
    out_file: Annotated[Path, typer.Option("--out", help="Codebook file to write.")],
    validation: Annotated[
        list[Path] | None, typer.Option(help="Rows to measure the result on; never fitted on.", exists=True)
    ] = None,
    parts: Annotated[
        Path | None,
        typer.Option(
            help="Directory with frames, overrides, plants and notes (see data/README.md) to compose more rows of.",
            exists=True,
            file_okay=False,
        ),
    ] = None,
    model: Annotated[str | None, typer.Option(help="Model id or directory; default FIREWALL_MODEL.")] = None,
    revision: Annotated[str | None, typer.Option(help="40-hex commit of the model.")] = None,
    layers: Annotated[
        str | None,
        typer.Option(help="Layers to probe, 1-based, for example 3,5,6; default by the model's depth."),
    ] = None,
    rank: Annotated[int, typer.Option(help="Directions of the basis.", min=4)] = 256,
    window: Annotated[int, typer.Option(help="Tokens of a window.", min=16)] = 256,
    overlap: Annotated[int, typer.Option(help="Tokens two windows share.", min=0)] = 32,
    dtype: Annotated[Literal["float32", "bfloat16"], typer.Option(help="Arithmetic the workers will use.")] = "float32",
    commercial_only: Annotated[
        bool, typer.Option(help="Leave out rows whose license field forbids commercial use or states none.")
    ] = False,
    cache: Annotated[
        Path, typer.Option(help="Directory for activations; an interrupted run goes on from there.")
    ] = Path(".cache/calibrate"),
    adapter_rank: Annotated[
        int, typer.Option(help="Rank of the low-rank adapter; 0 fits probes alone, in a tenth of the time.", min=0)
    ] = 16,
    adapter_epochs: Annotated[int, typer.Option(help="Passes of the adapter's training.", min=1)] = 2,
    epochs: Annotated[int, typer.Option(help="Passes of the probes' training without an adapter.", min=1)] = 6,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 20_261_122,
) -> None:
    """Fit a codebook: SVD basis, attention probes, and the distributions of benign texts.

    The same input, options and machine give the same file, byte by byte. Needs the torch extra. A quarter of
    the benign rows is kept from the probes and calibrates the false-alarm rate.
    """
    from worker.codebook.format import save_codebook
    from worker.fitting.adapter import AdapterPlan
    from worker.fitting.compose import part_files, read_parts
    from worker.fitting.dataset import data_files, file_sha256, read_rows
    from worker.fitting.fit import calibrate as fit
    from worker.fitting.plan import CalibrationPlan, default_layers
    from worker.fitting.train import TrainingPlan
    from worker.model.hub import resolve_model
    from worker.model.torch_encoder import require_torch, use_threads
    from worker.screening.assets import arithmetic_threads
    from worker.settings import load_settings

    with errors_shown():
        require_torch()
        from transformers import AutoConfig

        settings = load_settings()
        use_threads(arithmetic_threads(settings))
        files = resolve_model(model or settings.model, revision=revision or settings.revision, offline=settings.offline)
        depth = int(AutoConfig.from_pretrained(files.directory).num_hidden_layers)
        chosen = _layers(layers) if layers else default_layers(depth)
        rows = read_rows(train, commercial_only=commercial_only)
        plan = CalibrationPlan(
            layers=tuple(sorted(chosen)),
            rank=rank,
            window=window,
            overlap=overlap,
            dtype=dtype,
            training=TrainingPlan(epochs=epochs, seed=seed),
            adapter=AdapterPlan(rank=adapter_rank, epochs=adapter_epochs, seed=seed),
        )
        sources = [*data_files(train), *(part_files(parts) if parts else [])]
        read = read_parts(parts) if parts else None
        data: list[dict[str, object]] = [{"file": path.name, "sha256": file_sha256(path)} for path in sources]
        with progress_bars() as bars:
            codebook = fit(files, rows, plan, cache=cache, progress=opener(bars), parts=read, data=data)
        fingerprint = save_codebook(codebook, out_file)
    size = out_file.stat().st_size
    out.print(
        f"{out_file}: codebook {fingerprint}, {size:,} bytes, layers {chosen}, {len(rows):,} rows",
        highlight=False,
    )
    if validation:
        from worker.cli.evaluate import evaluate

        evaluate(data=validation, codebook=out_file, model=str(model or settings.model))
    else:
        err.print("[dim]measure it: alknet-firewall evaluate FILE --codebook " + json.dumps(str(out_file)) + "[/]")


def _layers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(number) for number in text.split(","))
    except ValueError:
        raise typer.BadParameter("give numbers with commas, for example 3,5,6", param_hint="--layers") from None
