"""Activations of all training windows, projected on the basis and kept on disk in half precision."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from worker.codebook.probe import Basis
from worker.model.encoder import WindowBatch
from worker.model.torch_encoder import TruncatedModel
from worker.model.windows import Window
from worker.screening.batching import length_sorted_batches

Advance = Callable[[int], None]


@dataclass(frozen=True)
class ProjectedWindows:
    """Projected activations of many windows, one after the other.

    Attributes:
        values: float16 ``(n_tokens_of_all_windows, rank)``, memory-mapped.
        starts: First row of every window, int64 ``(n_windows + 1,)``.
        documents: Document every window belongs to, ascending, int64 ``(n_windows,)``.
    """

    values: npt.NDArray[np.float16]
    starts: npt.NDArray[np.int64]
    documents: npt.NDArray[np.int64]


def fit_basis(model: TruncatedModel, windows: Sequence[Window], rank: int, advance: Advance) -> Basis:
    """Fit the whitened SVD basis of the layers' activations.

    The right singular vectors are taken from the second moment, accumulated in float64, which is exact
    enough for directions that carry variance and needs no matrix of all tokens.

    Args:
        model: The truncated model.
        windows: A sample of windows.
        rank: Directions to keep.
        advance: Called with the number of windows done.
    """
    width = model.hidden * len(model.layers)
    total, moment, count = np.zeros(width), np.zeros((width, width)), 0
    for batch in length_sorted_batches([len(window) for window in windows]):
        padded = WindowBatch.of([windows[i] for i in batch])
        rows = model.activations(padded)[padded.mask].astype(np.float64)
        total += rows.sum(axis=0)
        moment += rows.T @ rows
        count += len(rows)
        advance(len(batch))
    mean = total / count
    values, vectors = np.linalg.eigh(moment / count - np.outer(mean, mean))
    values, vectors = values[::-1][:rank].clip(min=1e-12), vectors[:, ::-1][:, :rank]
    # An eigenvector's sign is arbitrary and may differ between LAPACK builds: fix it.
    vectors = vectors * np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(vectors.shape[1])])
    variance = float(np.trace(moment / count - np.outer(mean, mean)))
    return Basis(
        mean=mean.astype(np.float32),
        components=(vectors / np.sqrt(values)).astype(np.float32),
        explained=round(float(values.sum()) / variance, 6),
    )


def mean_activations(model: TruncatedModel, windows: Sequence[Window], advance: Advance) -> npt.NDArray[np.float32]:
    """Return the mean activation of every window, float32 ``(n_windows, n_layers * hidden)``."""
    means = np.zeros((len(windows), model.hidden * len(model.layers)), dtype=np.float32)
    for batch in length_sorted_batches([len(window) for window in windows]):
        padded = WindowBatch.of([windows[i] for i in batch])
        hidden = model.activations(padded) * padded.mask[:, :, None]
        means[batch] = hidden.sum(axis=1) / padded.mask.sum(axis=1)[:, None]
        advance(len(batch))
    return means


def project(
    model: TruncatedModel,
    basis: Basis,
    windows: Sequence[Window],
    documents: npt.NDArray[np.int64],
    cache: Path,
    advance: Advance,
) -> ProjectedWindows:
    """Project all windows' activations, resuming from ``cache`` where an earlier run stopped.

    Args:
        model: The truncated model.
        basis: The basis.
        windows: Windows, document by document.
        documents: Document of every window, ascending, int64 ``(n_windows,)``.
        cache: Directory for the values; its contents are keyed by what they were computed from.
        advance: Called with the number of windows done.
    """
    lengths = np.array([len(window) for window in windows], dtype=np.int64)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    key = _cache_key(basis, windows)
    cache.mkdir(parents=True, exist_ok=True)
    path, state = cache / f"{key}.f16", cache / f"{key}.json"
    shape = (int(starts[-1]), basis.rank)
    done = int(json.loads(state.read_text())["batches"]) if state.is_file() and path.is_file() else 0
    values = np.memmap(path, dtype=np.float16, mode="r+" if done else "w+", shape=shape)
    mean, components = basis.mean, basis.components
    for number, batch in enumerate(length_sorted_batches([len(window) for window in windows])):
        if number >= done:
            padded = WindowBatch.of([windows[i] for i in batch])
            projected = ((model.activations(padded) - mean) @ components).astype(np.float16)
            for row, index in enumerate(batch):
                values[starts[index] : starts[index + 1]] = projected[row, : lengths[index]]
            if number % 50 == 49:
                values.flush()
                state.write_text(json.dumps({"batches": number + 1}))
        advance(len(batch))
    values.flush()
    state.write_text(json.dumps({"batches": len(windows)}))
    return ProjectedWindows(values, starts, documents)


def _cache_key(basis: Basis, windows: Sequence[Window]) -> str:
    digest = hashlib.sha256(basis.components.tobytes() + basis.mean.tobytes())
    for window in windows:
        digest.update(window.ids.tobytes())
        digest.update(b"|")
    return digest.hexdigest()[:24]
