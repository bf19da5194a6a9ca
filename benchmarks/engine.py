"""Section 1: tokens per second of each backend and arithmetic, and how much of the machine's peak that is."""

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.load import mixed_lengths, mixed_texts
from benchmarks.machine import matrix_peak
from benchmarks.rounds import interleaved, median, ratio
from worker.allocator import keep_freed_memory
from worker.codebook.probe import FoldedProbe, fold
from worker.hardware import has_bfloat16
from worker.model.encoder import Encoder, WindowBatch
from worker.model.hub import resolve_model
from worker.model.onnx_encoder import OnnxEncoder
from worker.model.onnx_export import export_graph, quantised
from worker.model.parallel_encoder import ParallelEncoder
from worker.model.serving import serving_encoder
from worker.model.torch_encoder import TruncatedModel
from worker.model.windows import Window
from worker.screening.assets import arithmetic_threads, load_codebook_and_model, make_tokenizer, make_torch_encoder
from worker.screening.batching import length_sorted_batches
from worker.screening.screener import prepare
from worker.settings import Settings

PROBED = {"full": (30,), "probed": (16, 24)}
"""Layers of SmolLM2-135M: its whole depth, and what `default_layers` probes."""


def measure(settings: Settings, *, texts: int, rounds: int, smollm2_tokens: int, budget_s: float) -> dict[str, Any]:
    """Return ratios and absolute figures of the engine alone."""
    keep_freed_memory()  # as `choose_backend` does
    report: dict[str, Any] = {"ratios": {}, "absolute": {}}
    dtypes = ["float32", *(["bfloat16"] if has_bfloat16() else [])]
    threads = arithmetic_threads(settings)
    torch.set_num_threads(1)  # of this thread: models are loaded here, and run in others
    encoders, batches = _minilm(settings, texts, dtypes, threads)
    smollm2, smollm2_batches = _smollm2(smollm2_tokens, dtypes, threads)
    runs: dict[str, Callable[[], float]] = {
        f"peak {dtype}": lambda dtype=dtype: matrix_peak(getattr(torch, dtype), threads) / 1e9 for dtype in dtypes
    }
    work: dict[str, float] = {}
    for name, (encoder, per_token, per_pair) in encoders.items():
        runs[f"minilm {name}"] = lambda encoder=encoder: _tokens_per_second(encoder, batches)
        work[f"minilm {name}"] = _work(batches, per_token, per_pair)
    for name, (encoder, per_token, per_pair) in smollm2.items():
        runs[f"smollm2 {name}"] = lambda encoder=encoder: _tokens_per_second(encoder, smollm2_batches)
        work[f"smollm2 {name}"] = _work(smollm2_batches, per_token, per_pair)
    for name, run in runs.items():
        if not name.startswith("peak"):
            run()  # warm-up
    found = interleaved(runs, rounds, budget_s)
    for name, figures in found.items():
        if name.startswith("peak"):
            report["absolute"][name.replace(" ", "_") + "_gflops"] = median(figures)
            continue
        dtype = "float32" if "float32" in name else dtypes[-1]
        of_peak = ratio([speed * work[name] / 1e9 for speed in figures], found[f"peak {dtype}"])
        report["absolute"][name] = {"tokens_per_s": median(figures), "of_peak": of_peak, "peak": dtype}
    best = dtypes[-1]
    report["ratios"] = {
        "minilm_over_peak": report["absolute"][f"minilm torch {best}"]["of_peak"],
        "smollm2_over_peak": report["absolute"][f"smollm2 torch {best} full"]["of_peak"],
        "minilm_int8_over_best_torch": ratio(found["minilm onnx int8"], found[f"minilm torch {best}"]),
        "minilm_best_torch_over_float32": ratio(found[f"minilm torch {best}"], found["minilm torch float32"]),
        "padding": round(sum(b.ids.size for b in batches) / sum(int(b.mask.sum()) for b in batches), 3),
    }
    return report


def _tokens_per_second(encoder: Encoder, batches: Sequence[WindowBatch]) -> float:
    start = time.perf_counter()
    for batch in batches:
        encoder.score(batch)
    return sum(int(batch.mask.sum()) for batch in batches) / (time.perf_counter() - start)


def _work(batches: Sequence[WindowBatch], per_token: float, per_pair: float) -> float:
    """Return floating-point operations per real token: linear maps, and attention's products of token pairs."""
    lengths = np.concatenate([batch.mask.sum(axis=1) for batch in batches]).astype(np.float64)
    return per_token + per_pair * float((lengths**2).sum() / lengths.sum())


Measured = tuple[Encoder, float, float]


def _operations(model: TruncatedModel) -> tuple[float, float]:
    """Return operations per token in linear maps, and per pair of tokens in attention."""
    linear = sum(module.weight.numel() for module in model.stack.modules() if isinstance(module, torch.nn.Linear))
    return 2.0 * linear, 4.0 * model.hidden * len(model.stack)


def _minilm(
    settings: Settings, texts: int, dtypes: list[str], threads: int
) -> tuple[dict[str, Measured], list[WindowBatch]]:
    codebook, files = load_codebook_and_model(settings)
    tokenizer = make_tokenizer(codebook, files)
    layers = codebook.header.model.layers
    probe = fold(codebook.basis, codebook.probe, layers)
    windows = [window for text in prepare(tokenizer, mixed_texts(texts)) for window in text.windows]
    source = TruncatedModel(files, layers, adapter=codebook.adapter)
    operations = _operations(source)
    encoders: dict[str, Measured] = {
        f"torch {dtype}": (make_torch_encoder(codebook, files, settings, dtype), *operations) for dtype in dtypes
    }
    graph = export_graph(source, probe, window=tokenizer.size)
    for dtype, model_file in (("float32", graph), ("int8", quantised(graph))):
        parallel = ParallelEncoder(OnnxEncoder(model_file, dtype=dtype, threads=1), threads)
        encoders[f"onnx {dtype}"] = (parallel, *operations)
    return encoders, _batches(windows, settings.batch_tokens)


def _smollm2(tokens: int, dtypes: list[str], threads: int) -> tuple[dict[str, Measured], list[WindowBatch]]:
    """Return SmolLM2-135M's architecture with random weights: what it costs does not depend on them."""
    from transformers import LlamaConfig, LlamaModel

    config = LlamaConfig(
        vocab_size=49152,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        max_position_embeddings=8192,
        tie_word_embeddings=True,
        rope_theta=100_000.0,
    )
    encoders: dict[str, Measured] = {}
    with tempfile.TemporaryDirectory(prefix="bench-smollm2-") as directory:
        torch.manual_seed(1)
        LlamaModel(config).to(torch.bfloat16).save_pretrained(directory)
        Path(directory, "tokenizer.json").write_text("{}")
        files = resolve_model(directory)
        for dtype in dtypes:
            for depth, layers in PROBED.items():
                model = TruncatedModel(files, layers, dtype=dtype)
                operations = _operations(model)
                encoder = serving_encoder(model, _random_probe(layers), threads)
                encoders[f"torch {dtype} {depth}"] = (encoder, *operations)
    random = np.random.default_rng(1)
    windows, left = [], tokens
    for length in mixed_lengths(1000):
        size = min(length, 256, left)
        windows.append(Window(random.integers(0, 49152, size).astype(np.int32), 0, size))
        left -= size
        if left <= 0:
            break
    return encoders, _batches(windows, 4096)


def _random_probe(layers: tuple[int, ...], signals: int = 6, heads: int = 8) -> FoldedProbe:
    random = np.random.default_rng(1)
    columns = 2 * signals * heads
    return FoldedProbe(
        layers,
        tuple(random.normal(scale=0.02, size=(576, columns)).astype(np.float32) for _ in layers),
        np.zeros(columns, np.float32),
        np.zeros(signals, np.float32),
        signals,
        heads,
    )


def _batches(windows: Sequence[Window], budget: int) -> list[WindowBatch]:
    chosen = length_sorted_batches([len(window) for window in windows], budget)
    return [WindowBatch.of([windows[i] for i in batch]) for batch in chosen]
