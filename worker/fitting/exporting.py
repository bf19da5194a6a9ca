"""Export an encoder, with a calibration of its own where its arithmetic needs one, and prove it."""

from collections.abc import Sequence
from pathlib import Path

from worker.codebook.probe import fold
from worker.errors import InvalidField
from worker.fitting.arithmetic import calibration_rows, in_arithmetic
from worker.fitting.dataset import LabelledText
from worker.fitting.fit import Progress
from worker.model.exported import ExportDtype, Manifest, save_export
from worker.model.onnx_export import export_graph, made_with, quantised, require_exporter
from worker.model.torch_encoder import TruncatedModel, use_threads
from worker.screening.assets import arithmetic_threads, load_codebook_and_model, make_onnx_encoder, make_tokenizer
from worker.screening.drift import Drift, check_golden
from worker.settings import Settings


def export_encoder(
    settings: Settings,
    directory: Path,
    *,
    dtype: ExportDtype,
    calibration: Sequence[Path],
    commercial_only: bool,
    progress: Progress,
) -> tuple[Manifest, Drift]:
    """Write an exported encoder and prove it on the golden texts.

    Args:
        settings: Model and codebook.
        directory: Where to; nothing is written unless the graph is proved.
        dtype: Arithmetic of the graph.
        calibration: Files of labelled rows; needed with int8. See ``calibration_rows``.
        commercial_only: As in the fit.
        progress: Opens progress bars.

    Returns:
        The manifest, and what the golden self-test found.

    Raises:
        MissingExtra: What an export needs is not installed.
        InvalidField: There are no rows to calibrate int8 on, or too few benign ones.
        GoldenDrift: The graph does not reproduce the codebook.
    """
    require_exporter()
    use_threads(arithmetic_threads(settings))
    codebook, files = load_codebook_and_model(settings)
    benign: list[LabelledText] = []
    if dtype == "int8":
        if not calibration:
            raise InvalidField(
                "int8 moves p-values too far to share the codebook's calibration: give --calibration with the files "
                "the codebook was fitted on, or with benign rows of your own traffic",
                field="calibration",
            )
        benign = calibration_rows(codebook, calibration, commercial_only=commercial_only)
    tokenizer = make_tokenizer(codebook, files)
    layers = codebook.header.model.layers
    model = TruncatedModel(files, layers, adapter=codebook.adapter)
    graph = export_graph(model, fold(codebook.basis, codebook.probe, layers), window=tokenizer.size)
    if dtype == "int8":
        graph = quantised(graph)
    encoder = make_onnx_encoder(graph, settings, dtype)
    served = codebook
    if dtype == "int8":
        served = in_arithmetic(codebook, tokenizer, encoder, benign, backend="onnx", dtype=dtype, progress=progress)
    drift = check_golden(served, tokenizer, encoder)
    manifest = Manifest(
        model=files.name,
        weights_sha256=files.weights_sha256,
        tokenizer_sha256=tokenizer.sha256,
        graph_sha256="0" * 64,
        dtype=dtype,
        codebook=codebook.fingerprint,
        exported_from=codebook.fingerprint,
        made_with=made_with(),
    )
    return save_export(directory, graph, files.directory / "tokenizer.json", served, manifest), drift
