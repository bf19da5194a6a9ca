"""What the machine is and what it can do: versions, the peak of its matrix products, memory of a process."""

import platform
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from worker.hardware import available_cores, has_bfloat16

LIBRARIES = ("torch", "transformers", "onnxruntime", "sentence-transformers", "celery", "redis", "numpy", "tokenizers")
SHAPES = ((4096, 384, 1536), (4096, 1536, 384), (4096, 576, 1536), (2048, 2048, 2048))
"""Rows, inner dimension, columns: those of the two models, and a square one."""


def describe() -> dict[str, Any]:
    """Return processor, cores, load and versions."""
    return {
        "processor": _processor(),
        "cores": available_cores(),
        "bfloat16": has_bfloat16(),
        "load_average": round(float(Path("/proc/loadavg").read_text().split()[0]), 2),
        "python": platform.python_version(),
        **{name: _version(name) for name in LIBRARIES},
    }


def matrix_peak(dtype: torch.dtype, threads: int, repeats: int = 8) -> float:
    """Return floating-point operations per second of the best matrix product among ``SHAPES``.

    In a thread of its own: the team of threads that it makes would slow down the encoders' (see ``ParallelEncoder``).
    """
    with ThreadPoolExecutor(1) as once:
        return once.submit(_matrix_peak, dtype, threads, repeats).result()


def _matrix_peak(dtype: torch.dtype, threads: int, repeats: int) -> float:
    torch.set_num_threads(threads)
    best = 0.0
    for rows, inner, columns in SHAPES:
        left, right = torch.randn(rows, inner, dtype=dtype), torch.randn(inner, columns, dtype=dtype)
        for _ in range(repeats):
            start = time.perf_counter()
            left @ right
            best = max(best, 2 * rows * inner * columns / (time.perf_counter() - start))
    return best


def memory(pid: int) -> dict[str, float]:
    """Return a process' resident memory in MB, and how much of it is its own alone (``smaps_rollup``)."""
    fields = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, value = line.split(":")
        fields[name] = int(value.split()[0]) / 1024
    private = fields["Private_Clean"] + fields["Private_Dirty"]
    return {"rss_mb": round(fields["Rss"], 1), "private_mb": round(private, 1)}


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
