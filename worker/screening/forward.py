"""Forward passes of the engine: a batch that fails is bisected until the poison window stands alone."""

import logging
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from worker.errors import ForwardFailed
from worker.model.encoder import Encoder, FloatArray, WindowBatch
from worker.model.windows import Window
from worker.screening.request import Request

log = logging.getLogger(__name__)

Entry = tuple[Request, int]
"""A request, and which of its windows."""

Explanation = tuple[Window, "Future[FloatArray]"]
"""A window of a flagged text, and who waits for its shares."""


@dataclass
class EngineStats:
    """Counters since the start; read by metrics and the demo's line of figures."""

    batches: int = 0
    windows: int = 0
    tokens: int = 0
    padded_tokens: int = 0
    busy_s: float = 0.0


class Forward:
    """Runs the encoder, in one thread.

    Args:
        encoder: The backend.
        n_signals: Columns of its scores.

    Attributes:
        stats: Counters since the start.
        busy_since: ``time.monotonic()`` at which the pass in progress began; None between passes.
    """

    def __init__(self, encoder: Encoder, n_signals: int):
        self._encoder = encoder
        self._n_signals = n_signals
        self.stats = EngineStats()
        self.busy_since: float | None = None

    def score(self, entries: list[Entry]) -> None:
        """Run one batch and give every window's logits to its request; a request with a poison window fails alone."""
        start = time.perf_counter()
        try:
            batch = WindowBatch.of([request.windows[position] for request, position in entries])
            with self._busy():
                logits = self._encoder.score(batch)
            if logits.shape != (len(entries), self._n_signals):
                raise ValueError("the forward pass gave another shape")
            if not np.isfinite(logits).all():
                raise FloatingPointError("the forward pass gave NaN or infinity")
        except Exception as error:  # noqa: BLE001 - whatever a backend raises, only the poison may fail
            self._bisect(entries, error)
            return
        self._count(batch, time.perf_counter() - start)
        for (request, position), row in zip(entries, logits, strict=True):
            request.put(position, row)

    def _bisect(self, entries: list[Entry], error: Exception) -> None:
        if len(entries) > 1:
            middle = len(entries) // 2
            self.score(entries[:middle])
            self.score(entries[middle:])
            return
        # The exception's own message may quote the input; its type says enough.
        log.error("forward pass failed on one window: %s", type(error).__name__)
        entries[0][0].fail(
            ForwardFailed(f"the model failed on this text ({type(error).__name__}); report it with the model's name")
        )

    def attribute(self, explanations: list[Explanation]) -> None:
        """Run one batch and give every window's shares to its future."""
        try:
            with self._busy():
                shares = self._encoder.attribute(WindowBatch.of([window for window, _ in explanations]))
        except Exception as error:  # noqa: BLE001 - as in score
            if len(explanations) > 1:
                for explanation in explanations:
                    self.attribute([explanation])
                return
            explanations[0][1].set_exception(ForwardFailed(f"no evidence: the model failed ({type(error).__name__})"))
            return
        for (window, future), row in zip(explanations, shares, strict=True):
            future.set_result(row[: len(window)])

    @contextmanager
    def _busy(self) -> Iterator[None]:
        self.busy_since = time.monotonic()
        try:
            yield
        finally:
            self.busy_since = None

    def _count(self, batch: WindowBatch, seconds: float) -> None:
        self.stats.batches += 1
        self.stats.windows += batch.ids.shape[0]
        self.stats.tokens += int(batch.mask.sum())
        self.stats.padded_tokens += batch.ids.size
        self.stats.busy_s += seconds
