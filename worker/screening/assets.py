"""Codebook, model files, tokenizer, encoder and export, each checked against the others before it is used."""

import os
from pathlib import Path

from worker.codebook.format import Codebook, load_codebook
from worker.codebook.probe import fold
from worker.codebook.shipped import codebook_path
from worker.errors import CodebookMismatch, CodebookNotFound, ExportInvalid, SettingsError
from worker.hardware import available_cores
from worker.model.encoder import Encoder
from worker.model.exported import CODEBOOK, Export, load_export
from worker.model.hub import ModelFiles, resolve_model
from worker.model.onnx_encoder import OnnxEncoder
from worker.model.parallel_encoder import ParallelEncoder
from worker.model.torch_encoder import TruncatedModel, on_one_thread, require_torch
from worker.model.windows import WindowTokenizer
from worker.settings import Settings


def check_files(settings: Settings) -> None:
    """Check what can be checked without loading a model, as a parent process does before it forks.

    Raises:
        ModelError, CodebookError: What is wrong and how to mend it.
    """
    if settings.export is not None and settings.backend != "torch":
        load_wanted_export(settings)
    else:
        load_codebook_and_model(settings)


def arithmetic_threads(settings: Settings) -> int:
    """Return the threads of the model's arithmetic, and keep the tokenizer to them as well.

    The tokenizer's own pool would have a thread for every core of the machine, whatever the container may use.
    """
    threads = settings.threads or available_cores()
    os.environ.setdefault("RAYON_NUM_THREADS", str(threads))
    return threads


def load_codebook_and_model(settings: Settings) -> tuple[Codebook, ModelFiles]:
    """Return the codebook and the files of the very model it was calibrated on.

    Raises:
        CodebookMismatch: The model's weights or revision are not the codebook's.
    """
    codebook = load_codebook(codebook_path(settings.model, settings.codebook))
    calibrated = codebook.header.model
    files = resolve_model(settings.model, revision=settings.revision or calibrated.revision, offline=settings.offline)
    if files.weights_sha256 != calibrated.weights_sha256:
        raise CodebookMismatch(
            f"the codebook was calibrated on {calibrated.name}, weights {calibrated.weights_sha256[:12]}…; "
            f"{files.name} has weights {files.weights_sha256[:12]}…. Set FIREWALL_MODEL and FIREWALL_CODEBOOK to a "
            "pair, or run `alknet-firewall calibrate` for this model."
        )
    return codebook, files


def make_tokenizer(codebook: Codebook, files: ModelFiles) -> WindowTokenizer:
    """Return the codebook's tokenizer.

    Raises:
        CodebookMismatch: ``tokenizer.json`` is another one than the codebook's.
    """
    window = codebook.header.window
    tokenizer = WindowTokenizer(files.directory / "tokenizer.json", size=window.size, overlap=window.overlap)
    if tokenizer.sha256 != codebook.header.model.tokenizer_sha256:
        raise CodebookMismatch(
            f"{files.name}: tokenizer.json differs from the one the codebook was calibrated with. Fetch the "
            "model's pinned revision again."
        )
    return tokenizer


def make_torch_encoder(
    codebook: Codebook, files: ModelFiles, settings: Settings, dtype: str, *, tuned: bool = True
) -> Encoder:
    """Return the torch backend with the codebook's probe inside.

    Args:
        codebook: The codebook.
        files: Its model.
        settings: Device, threads, whether to compile.
        dtype: ``float32`` or ``bfloat16``.
        tuned: Trace or compile it, which an encoder that is only compared with another is not worth.

    Raises:
        MissingExtra: torch or transformers is not installed.
        SettingsError: FIREWALL_COMPILE is set and the model cannot be compiled.
    """
    require_torch()
    from worker.model.serving import Tuning, serving_encoder

    layers = codebook.header.model.layers
    with on_one_thread():  # or loading would leave a team of threads behind, see ParallelEncoder
        model = TruncatedModel(files, layers, dtype=dtype, device=settings.device, adapter=codebook.adapter)
    probe = fold(codebook.basis, codebook.probe, layers)
    threads = arithmetic_threads(settings)
    tuning: Tuning = "compile" if settings.compile else "trace"
    return serving_encoder(model, probe, threads, tuning if tuned else "none")


def make_onnx_encoder(graph: bytes, settings: Settings, dtype: str) -> Encoder:
    """Return the onnxruntime backend.

    Args:
        graph: See ``OnnxEncoder``.
        settings: Threads.
        dtype: Arithmetic of the graph.

    Raises:
        MissingExtra: onnxruntime is not installed.
        ExportInvalid: onnxruntime does not take the graph, or it is none of ours.
    """
    threads = arithmetic_threads(settings)
    encoder = OnnxEncoder(graph, dtype=dtype, threads=1)
    return ParallelEncoder(encoder, threads) if threads > 1 else encoder


def load_wanted_export(settings: Settings) -> Export:
    """Return the export that the settings name, if it was made for the codebook that they name.

    Raises:
        SettingsError: They name no export.
        ExportInvalid: It is damaged, or was made for another codebook.
    """
    if settings.export is None:
        raise SettingsError("FIREWALL_BACKEND=onnx needs FIREWALL_EXPORT, a directory made by `alknet-firewall export`")
    export = load_export(settings.export)
    wanted = _wanted_codebook(settings)
    ours = {export.manifest.codebook, export.manifest.exported_from}
    if wanted is not None and load_codebook(wanted).fingerprint not in ours:
        raise ExportInvalid(
            f"{export.directory} was exported for codebook {export.manifest.exported_from}, not for {wanted.name}. Run "
            "`alknet-firewall export` again, or keep to the export's own by FIREWALL_CODEBOOK="
            f"{export.directory / CODEBOOK}"
        )
    return export


def _wanted_codebook(settings: Settings) -> Path | None:
    try:
        return codebook_path(settings.model, settings.codebook)
    except CodebookNotFound:
        return None
