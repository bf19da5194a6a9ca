"""Score many texts at once without the engine's thread: for fitting and for the golden self-test."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from worker.errors import InvalidField
from worker.model.encoder import Encoder, WindowBatch
from worker.model.windows import WindowTokenizer
from worker.screening.batching import length_sorted_batches
from worker.screening.scoring import largest_by_document
from worker.screening.screener import prepare

CHUNK = 1024
"""Texts tokenised in one call."""


def score_texts(
    encoder: Encoder,
    tokenizer: WindowTokenizer,
    texts: Sequence[str],
    progress: Callable[[str, int], Callable[[int], None]] | None = None,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]:
    """Score texts just as the worker does: all views, all windows, the largest logit.

    Args:
        encoder: The backend.
        tokenizer: The codebook's tokenizer.
        texts: At least one.
        progress: Opens a progress bar over the windows.

    Returns:
        Document scores float32 ``(n_texts, n_signals)`` and tokens int32 ``(n_texts,)``.

    Raises:
        InvalidField: A text has no tokens.
    """
    prepared = [p for i in range(0, len(texts), CHUNK) for p in prepare(tokenizer, texts[i : i + CHUNK])]
    if any(not p.windows for p in prepared):
        raise InvalidField("a text without tokens cannot be scored; leave such rows out", field="text")
    windows = [window for p in prepared for window in p.windows]
    advance = progress("scores", len(windows)) if progress else None
    parts: list[npt.NDArray[np.float32]] = []
    batches = length_sorted_batches([len(window) for window in windows])
    for batch in batches:
        parts.append(encoder.score(WindowBatch.of([windows[i] for i in batch])))
        if advance:
            advance(len(batch))
    order = np.concatenate([np.asarray(batch) for batch in batches])
    logits = np.concatenate(parts)[np.argsort(order)]
    largest, _ = largest_by_document(logits, [len(p.windows) for p in prepared])
    return largest, np.array([p.n_tokens for p in prepared], dtype=np.int32)
