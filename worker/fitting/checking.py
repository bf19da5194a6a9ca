"""Compare a backend with the calibrated arithmetic on texts."""

from collections.abc import Sequence
from pathlib import Path

from worker.errors import InvalidField
from worker.model.encoder import Encoder
from worker.model.exported import load_export
from worker.screening.assets import load_codebook_and_model, make_onnx_encoder, make_tokenizer, make_torch_encoder
from worker.screening.drift import Drift, compare
from worker.settings import Settings


def check_other(settings: Settings, texts: Sequence[str], *, dtype: str, export: Path | None) -> tuple[str, Drift]:
    """Score texts in the codebook's arithmetic on torch, and on another backend.

    Args:
        settings: Model and codebook.
        texts: Those without tokens are left out.
        dtype: Arithmetic of the torch backend to check.
        export: An export to check instead.

    Returns:
        The checked backend's name, and how far it drifts.

    Raises:
        InvalidField: No text has a token.
    """
    codebook, files = load_codebook_and_model(settings)
    tokenizer = make_tokenizer(codebook, files)
    kept = [text for text, tokens in zip(texts, tokenizer.tokenize(texts), strict=True) if len(tokens.ids)]
    if not kept:
        raise InvalidField("no text has a token", field="text")
    reference = make_torch_encoder(codebook, files, settings, codebook.header.model.dtype, tuned=False)
    other: Encoder
    if export is not None:
        loaded = load_export(export)
        other = make_onnx_encoder(loaded.graph, settings, loaded.manifest.dtype)
    else:
        other = make_torch_encoder(codebook, files, settings, dtype)
    return other.name, compare(reference, other, codebook, tokenizer, kept)
