"""A batch cut into one part a core, each run by one thread.

Threads inside every matrix product must meet after each; where another process takes one core for a moment, all wait.
Parts of a batch meet once (ADR 15).
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np

from worker.model.encoder import Encoder, FloatArray, WindowBatch

_TEAM = ThreadPoolExecutor(1, thread_name_prefix="firewall-team")
"""The one thread that may ask OpenMP for a team of threads.

Every thread that asks gets a team of its own, and as soon as all teams together have more threads than there are cores,
they sleep at each meeting: half of a short text's time.
"""


class ParallelEncoder:
    """Runs another encoder on parts of a batch at once.

    Args:
        inner: Can be called by several threads at once.
        threads: Parts of a batch, and threads.
        use_threads: Sets the threads of the arithmetic of the thread that calls it; None if they cannot be set.
            A batch with fewer windows than threads runs whole, with all threads inside its products if so.
    """

    def __init__(self, inner: Encoder, threads: int, use_threads: Callable[[int], None] | None = None):
        self._inner = inner
        self._threads = threads
        self._use_threads = use_threads or (lambda _threads: None)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="firewall-forward")
        self.name = inner.name

    def score(self, batch: WindowBatch) -> FloatArray:
        """See ``Encoder.score``."""
        return self._run(self._inner.score, batch)

    def attribute(self, batch: WindowBatch) -> FloatArray:
        """See ``Encoder.attribute``."""
        return self._run(self._inner.attribute, batch)

    def _run(self, run: Callable[[WindowBatch], FloatArray], batch: WindowBatch) -> FloatArray:
        def whole() -> FloatArray:
            self._use_threads(self._threads)
            return run(batch)

        def part(rows: tuple[int, int]) -> FloatArray:
            self._use_threads(1)
            return run(WindowBatch(batch.ids[slice(*rows)], batch.mask[slice(*rows)]))

        if len(batch.ids) < self._threads:
            return _TEAM.submit(whole).result()
        borders = np.linspace(0, len(batch.ids), self._threads + 1).round().astype(int).tolist()
        return np.concatenate(list(self._pool.map(part, pairwise(borders))))
