"""Bring a process to the point where it can screen: files, codebook, encoder, golden self-test, warm-up."""

import logging
import time

import numpy as np

from worker.codebook.format import Codebook, load_codebook
from worker.codebook.probe import fold
from worker.codebook.shipped import codebook_path
from worker.errors import CodebookMismatch, GoldenDrift
from worker.model.encoder import Encoder
from worker.model.hub import ModelFiles, resolve_model
from worker.model.windows import WindowTokenizer
from worker.screening.engine import Engine, EngineLimits
from worker.screening.offline import score_texts
from worker.screening.policy_file import load_rules
from worker.screening.screener import Screener
from worker.settings import Settings, available_cores

log = logging.getLogger(__name__)


def load_screener(settings: Settings) -> Screener:
    """Load model and codebook, prove that they belong together, and start the engine.

    Raises:
        ModelError, CodebookError, MissingExtra: What is wrong and how to mend it; the worker must not start.
    """
    start = time.perf_counter()
    codebook, files = load_codebook_and_model(settings)
    tokenizer = make_tokenizer(codebook, files)
    encoder = make_encoder(codebook, files, settings)
    drift = golden_drift(codebook, tokenizer, encoder)
    engine = Engine(
        encoder,
        len(codebook.header.signals),
        EngineLimits(
            batch_tokens=settings.batch_tokens,
            queue_tokens=settings.queue_tokens,
            linger_s=settings.linger_ms / 1000,
            bulk_share=settings.bulk_share,
        ),
    )
    log.info(
        "ready: model %s (%s), codebook %s, backend %s, golden drift %.4f, %.1f s",
        files.name,
        files.origin,
        codebook.fingerprint,
        encoder.name,
        drift,
        time.perf_counter() - start,
    )
    return Screener(codebook, tokenizer, engine, load_rules(settings.policies).policies)


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


def make_encoder(codebook: Codebook, files: ModelFiles, settings: Settings) -> Encoder:
    """Return the backend with the codebook's probe inside."""
    from worker.model.torch_encoder import TorchEncoder, TruncatedModel, limit_threads

    limit_threads(settings.threads or available_cores())
    layers = codebook.header.model.layers
    model = TruncatedModel(files, layers, dtype=settings.dtype, device=settings.device, adapter=codebook.adapter)
    return TorchEncoder(model, fold(codebook.basis, codebook.probe, layers))


def golden_drift(codebook: Codebook, tokenizer: WindowTokenizer, encoder: Encoder) -> float:
    """Score the golden texts, which also warms the model up, and return the largest difference.

    Raises:
        GoldenDrift: It is over the codebook's tolerance: p-values would not mean what they say.
    """
    golden = codebook.header.golden
    scores, _ = score_texts(encoder, tokenizer, golden.texts)
    drift = float(np.abs(scores - codebook.golden_scores).max())
    if not drift <= golden.tolerance:
        raise GoldenDrift(
            f"scores of the golden texts on {encoder.name} differ by {drift:.3f} from the calibrated ones, the "
            f"tolerance is {golden.tolerance}. Use FIREWALL_DTYPE={codebook.header.model.dtype}, or calibrate for "
            "this backend."
        )
    return drift
