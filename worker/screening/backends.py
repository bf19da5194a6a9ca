"""Which backend and arithmetic a process serves with: the fastest one that is installed and proves the codebook."""

import logging
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from importlib.util import find_spec

import numpy as np

from worker.allocator import give_back_freed_memory, keep_freed_memory
from worker.codebook.format import Codebook
from worker.errors import CodebookError, ExportInvalid, FirewallError, MissingExtra, ModelError, SettingsError
from worker.hardware import has_bfloat16
from worker.model.encoder import Encoder, WindowBatch
from worker.model.windows import WindowTokenizer
from worker.screening.assets import (
    arithmetic_threads,
    load_codebook_and_model,
    load_wanted_export,
    make_onnx_encoder,
    make_tokenizer,
    make_torch_encoder,
)
from worker.screening.drift import check_golden
from worker.settings import Settings

log = logging.getLogger(__name__)

WARM_UP_ROUNDS = 3
WARM_UP_LENGTH = 128
WARM_UP_TOKENS = 256
"""Tokens of one timed pass on a CPU: a fortieth of a second. Other devices need a whole batch to show their speed."""

GAIN = 1.1
"""How many times as fast another arithmetic must be to be taken instead of the calibrated one."""


@dataclass(frozen=True)
class Backend:
    """An encoder, with the codebook whose p-values hold for it.

    Attributes:
        encoder: Model and probe.
        codebook: See above.
        tokenizer: The codebook's.
        model: Name and origin of the model, for the log.
        tune: Loads it anew, as fast as it can be; None if it is so already.
    """

    encoder: Encoder
    codebook: Codebook
    tokenizer: WindowTokenizer
    model: str
    tune: "Callable[[], Backend] | None" = None


Load = Callable[[], Backend]


def choose_backend(settings: Settings) -> Backend:
    """Load what the settings allow, and return the fastest that passes the golden self-test.

    Raises:
        FirewallError: Nothing can serve: why the first choice cannot, and how to mend it.
    """
    usable: list[Backend] = []
    refused: dict[str, FirewallError] = {}
    for name, load in candidates(settings):
        try:
            usable.append(load())
        except (ModelError, CodebookError, MissingExtra) as error:
            refused[name] = error
    speeds = measure_speeds(usable, settings) if len(usable) > 1 else {}
    chosen = None
    for backend in _fastest_first(usable, speeds):
        tuned = backend.tune() if backend.tune else backend
        try:
            drift = check_golden(tuned.codebook, tuned.tokenizer, tuned.encoder)
        except CodebookError as error:
            refused[tuned.encoder.name] = error
            continue
        chosen = tuned
        break
    if chosen is None:
        raise next(iter(refused.values()))
    for name, fault in refused.items():
        log.warning("backend %s is not used: %s: %s", name, fault.code, fault.message)
    log.info(
        "backend %s (%s); golden texts: logits within %.3f, p-values within a factor of %.2f",
        chosen.encoder.name,
        "tokens/s at start: " + ", ".join(f"{n} {v:,.0f}" for n, v in speeds.items()) if speeds else "no other",
        drift.logit,
        drift.factor,
    )
    usable.clear()
    refused.clear()  # their tracebacks hold the models
    give_back_freed_memory()
    keep_freed_memory()
    return chosen


def candidates(settings: Settings) -> list[tuple[str, Load]]:
    """Return what the settings allow, the calibrated arithmetic first: names, and functions that load it.

    Raises:
        SettingsError: They allow nothing.
    """
    found = [*_torch_candidates(settings), *_onnx_candidates(settings)]
    if not found:
        raise SettingsError(
            f"FIREWALL_BACKEND={settings.backend} has no FIREWALL_DTYPE={settings.dtype}: torch has float32 and "
            "bfloat16; onnx has what FIREWALL_EXPORT, a directory made by `alknet-firewall export`, was exported in"
        )
    return found


def measure_speeds(backends: Sequence[Backend], settings: Settings) -> dict[str, float]:
    """Return tokens per second of each encoder, by name; rounds are interleaved, and the median counts.

    Args:
        backends: At least one.
        settings: Device and batch size.
    """
    tokens = WARM_UP_TOKENS if settings.device == "cpu" else max(WARM_UP_TOKENS, settings.batch_tokens)
    length = min(WARM_UP_LENGTH, *(backend.tokenizer.size for backend in backends))
    # As many windows as threads, or the batch would not run in parts, as those of traffic do.
    shape = (max(arithmetic_threads(settings), tokens // length), length)
    ids = np.random.default_rng(1).integers(0, min(b.tokenizer.vocabulary for b in backends), shape)
    batch = WindowBatch(ids, np.ones(shape, dtype=np.bool_))
    seconds: dict[str, list[float]] = {backend.encoder.name: [] for backend in backends}
    for _ in range(1 + WARM_UP_ROUNDS):
        for backend in backends:
            start = time.perf_counter()
            backend.encoder.score(batch)
            seconds[backend.encoder.name].append(time.perf_counter() - start)
    return {name: batch.ids.size / statistics.median(found[1:]) for name, found in seconds.items()}


def _fastest_first(usable: Sequence[Backend], speeds: Mapping[str, float]) -> list[Backend]:
    """Order by speed; the first one, in the calibrated arithmetic, counts ``GAIN`` times its own."""
    handicap = {backend.encoder.name: GAIN if n == 0 else 1.0 for n, backend in enumerate(usable)}
    return sorted(usable, key=lambda b: -handicap[b.encoder.name] * speeds.get(b.encoder.name, 0.0))


def _torch_candidates(settings: Settings) -> Iterator[tuple[str, Load]]:
    if settings.backend == "onnx" or settings.dtype == "int8":
        return
    installed = find_spec("torch") is not None
    if settings.backend == "auto" and settings.export is not None and not installed:
        return
    parts = cache(lambda: load_codebook_and_model(settings))

    def load(dtype: str, *, tuned: bool = True) -> Backend:
        codebook, files = parts()
        tokenizer = make_tokenizer(codebook, files)
        encoder = make_torch_encoder(codebook, files, settings, dtype, tuned=tuned)
        tune = None if tuned else partial(load, dtype)
        return Backend(encoder, codebook, tokenizer, f"{files.name} ({files.origin})", tune)

    if settings.dtype != "auto":
        yield f"torch-{settings.dtype}", partial(load, settings.dtype)
        return
    faster = installed and has_bfloat16(settings.device)
    # Beside bfloat16 it is hardly ever chosen, and tuning it would take half a second of every start.
    yield "torch-float32", partial(load, "float32", tuned=not faster)
    if faster:
        yield "torch-bfloat16", partial(load, "bfloat16")


def _onnx_candidates(settings: Settings) -> Iterator[tuple[str, Load]]:
    if settings.backend == "torch" or (settings.backend == "auto" and settings.export is None):
        return

    def load() -> Backend:
        export = load_wanted_export(settings)
        dtype = export.manifest.dtype
        if settings.dtype not in ("auto", dtype):
            raise ExportInvalid(f"{export.directory} was exported in {dtype}, FIREWALL_DTYPE is {settings.dtype}")
        window = export.codebook.header.window
        tokenizer = WindowTokenizer(export.tokenizer, size=window.size, overlap=window.overlap)
        encoder = make_onnx_encoder(export.graph, settings, dtype)
        return Backend(encoder, export.codebook, tokenizer, f"{export.manifest.model} (export)")

    yield "onnx", load
