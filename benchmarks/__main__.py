"""``make bench``: tokens per second of the engine, beside the machine's own matrix-product peak."""

import json
import platform
import statistics
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.load import mixed_texts
from worker.hardware import available_cores
from worker.model.encoder import WindowBatch
from worker.screening.assets import load_codebook_and_model, make_tokenizer, make_torch_encoder
from worker.screening.batching import length_sorted_batches
from worker.screening.screener import prepare
from worker.settings import load_settings

TEXTS = 300
ROUNDS = 3
SIZE = 1536


def matrix_peak(dtype: torch.dtype) -> float:
    """Return the floating-point operations per second of one large matrix product, the best of ten."""
    left, right = torch.randn(SIZE, SIZE, dtype=dtype), torch.randn(SIZE, SIZE, dtype=dtype)
    best = float("inf")
    for _ in range(10):
        start = time.perf_counter()
        left @ right
        best = min(best, time.perf_counter() - start)
    return 2 * SIZE**3 / best


def main() -> None:
    """Measure, print a table, and write benchmarks/latest.json."""
    codebook, files = load_codebook_and_model(load_settings())
    tokenizer = make_tokenizer(codebook, files)
    windows = [window for text in prepare(tokenizer, mixed_texts(TEXTS)) for window in text.windows]
    batches = length_sorted_batches([len(window) for window in windows], 4096)
    padded = [WindowBatch.of([windows[i] for i in batch]) for batch in batches]
    tokens = sum(int(batch.mask.sum()) for batch in padded)
    padding = sum(batch.ids.size for batch in padded) / tokens
    encoders = {dtype: make_torch_encoder(codebook, files, load_settings(), dtype) for dtype in ("float32", "bfloat16")}
    seconds: dict[str, list[float]] = {dtype: [] for dtype in encoders}
    for _ in range(ROUNDS):  # interleaved, so that a busy moment hits all alike
        for dtype, encoder in encoders.items():
            start = time.perf_counter()
            for batch in padded:
                encoder.score(batch)
            seconds[dtype].append(time.perf_counter() - start)
    report = {
        "machine": {
            "cores": available_cores(),
            "processor": platform.machine(),
            "torch": torch.__version__,
            "numpy": np.__version__,
        },
        "ratios": {"padding": round(padding, 3)},
        "absolute": {
            f"torch_{dtype}": {
                "tokens_per_s": round(tokens / statistics.median(found)),
                "matrix_peak_flops": round(matrix_peak(getattr(torch, dtype))),
            }
            for dtype, found in seconds.items()
        },
    }
    Path("benchmarks/latest.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(f"{TEXTS} texts, {tokens} tokens, {len(windows)} windows; padded/real {padding:.3f}")
    for name, figures in report["absolute"].items():
        peak = figures["matrix_peak_flops"] / 1e9
        print(f"{name:16} {figures['tokens_per_s']:8,} tokens/s   matrix peak {peak:6.0f} GFLOP/s")


if __name__ == "__main__":
    main()
