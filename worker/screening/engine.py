"""The engine: one thread that runs forward passes over windows of all jobs in flight.

Task threads submit a document's windows and wait on a future. The engine dispatches as soon as it is
free, so batches grow by themselves while it is busy.
"""

import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import numpy as np

from worker.errors import EngineStopped, Overloaded
from worker.model.encoder import Encoder, FloatArray
from worker.model.windows import Window
from worker.screening.batching import HORIZON, length_sorted_batches, plan_batch
from worker.screening.forward import EngineStats, Entry, Explanation, Forward
from worker.screening.request import Request

SUBMIT_TIMEOUT_S = 60.0
"""How long an interactive job waits for room before it reports overload."""

BULK_TIMEOUT_S = 1800.0
"""The same for bulk: waiting is its back-pressure, and the job's lease is renewed meanwhile."""


@dataclass(frozen=True)
class EngineLimits:
    """How much the engine takes on.

    Attributes:
        batch_tokens: Padded tokens of one forward pass.
        queue_tokens: Tokens that may wait.
        linger_s: Longest wait of a batch below its budget, and only while jobs are being prepared.
        bulk_share: Share of batches bulk work gets while interactive work waits.
    """

    batch_tokens: int = 4096
    queue_tokens: int = 2_000_000
    linger_s: float = 0.002
    bulk_share: float = 0.1


class Engine:
    """Batches windows across threads and runs the encoder on them.

    Args:
        encoder: The backend.
        n_signals: Columns of its scores.
        limits: See ``EngineLimits``.

    """

    def __init__(self, encoder: Encoder, n_signals: int, limits: EngineLimits):
        self._n_signals = n_signals
        self._limits = limits
        self._forward = Forward(encoder, n_signals)
        self._changed = threading.Condition()
        self._interactive: deque[Entry] = deque()
        self._bulk: deque[Entry] = deque()
        self._explanations: deque[Explanation] = deque()
        # Each class has room of its own, so that bulk never keeps interactive work out.
        self._waiting_tokens = {False: 0, True: 0}
        self._preparing = 0
        self._bulk_credit = 0.0
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="firewall-engine", daemon=True)
        self._thread.start()

    def submit(self, windows: Sequence[Window], *, bulk: bool = False) -> "Future[FloatArray]":
        """Queue a document's windows; wait for room first if the queue is full.

        Args:
            windows: At least one.
            bulk: Yield to interactive work.

        Returns:
            A future of the logits, float32 ``(n_windows, n_signals)``. It fails with ``ForwardFailed`` if the
            model cannot score the document, with ``EngineStopped`` on shutdown.

        Raises:
            Overloaded: There was no room for ``SUBMIT_TIMEOUT_S``.
            EngineStopped: The engine is shutting down.
        """
        tokens = sum(len(window) for window in windows)
        request = Request(windows, np.empty((len(windows), self._n_signals), np.float32), len(windows))
        with self._changed:
            # A document larger than the whole queue gets in when the queue is empty.
            timeout = BULK_TIMEOUT_S if bulk else SUBMIT_TIMEOUT_S
            fits = self._changed.wait_for(
                lambda: (
                    self._stopping
                    or self._waiting_tokens[bulk] == 0
                    or self._waiting_tokens[bulk] + tokens <= self._limits.queue_tokens
                ),
                timeout=timeout,
            )
            self._raise_if_stopping()
            if not fits:
                raise Overloaded(
                    f"{self._waiting_tokens[bulk]} tokens wait for the engine and there was no room for "
                    f"{timeout:.0f} s; add workers, or raise FIREWALL_QUEUE_TOKENS"
                )
            (self._bulk if bulk else self._interactive).extend((request, i) for i in range(len(windows)))
            self._waiting_tokens[bulk] += tokens
            self._changed.notify_all()
        return request.future

    def explain(self, window: Window) -> "Future[FloatArray]":
        """Queue a window of a flagged text for attribution.

        Returns:
            A future of each token's share of the logits, float32 ``(len(window), n_signals)``.
        """
        future: Future[FloatArray] = Future()
        with self._changed:
            self._raise_if_stopping()
            self._explanations.append((window, future))
            self._changed.notify_all()
        return future

    @contextmanager
    def preparing(self) -> Iterator[None]:
        """Tell the engine that a thread is about to submit, so that a linger is worth its wait."""
        with self._changed:
            self._preparing += 1
        try:
            yield
        finally:
            with self._changed:
                self._preparing -= 1
                self._changed.notify_all()

    @property
    def stats(self) -> EngineStats:
        """Counters since the start."""
        return self._forward.stats

    @property
    def busy_since(self) -> float | None:
        """``time.monotonic()`` at which the forward pass in progress began; None between passes."""
        return self._forward.busy_since

    @property
    def alive(self) -> bool:
        """Whether the engine's thread still runs."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Finish the batch in progress, fail what still waits with ``EngineStopped``, end the thread."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._thread.join()

    def _raise_if_stopping(self) -> None:
        if self._stopping:
            raise EngineStopped("the engine is shutting down; the job returns to the queue")

    def _run(self) -> None:
        explanations: list[Explanation] = []
        entries: list[Entry] = []
        try:
            while (work := self._next()) is not None:
                explanations, entries = work
                self._explain([entry for entry in explanations if entry[1].set_running_or_notify_cancel()])
                if entries:
                    self._forward.score(entries)
        finally:
            # Also when the thread dies of something unforeseen: nobody may wait for ever.
            self._abandon([request.future for request, _ in entries] + [future for _, future in explanations])

    def _next(self) -> tuple[list[Explanation], list[Entry]] | None:
        with self._changed:
            self._changed.wait_for(lambda: self._stopping or self._explanations or self._interactive or self._bulk)
            if self._stopping:
                return None
            self._linger()
            explanations = list(self._explanations)
            self._explanations.clear()
            return explanations, self._take()

    def _linger(self) -> None:
        """Give jobs in preparation a moment to join a batch that is not full."""
        deadline = time.monotonic() + self._limits.linger_s
        while (
            self._preparing
            and not self._explanations
            and not self._stopping
            and sum(self._waiting_tokens.values()) < self._limits.batch_tokens
            and (left := deadline - time.monotonic()) > 0
        ):
            self._changed.wait(left)

    def _take(self) -> list[Entry]:
        """Remove the next batch from its queue. Called with the lock held."""
        queue = self._choose_queue()
        chosen = set(plan_batch(self._oldest_lengths(queue), self._limits.batch_tokens))
        entries: list[Entry] = []
        if chosen:
            kept: list[Entry] = []
            for position in range(max(chosen) + 1):
                (entries if position in chosen else kept).append(queue.popleft())
            queue.extendleft(reversed(kept))
        self._waiting_tokens[queue is self._bulk] -= sum(len(r.windows[i]) for r, i in entries)
        self._changed.notify_all()
        return [(r, i) for r, i in entries if not r.future.done()]

    def _oldest_lengths(self, queue: deque[Entry]) -> list[int]:
        """Return the lengths of as many windows as the planner looks at."""
        lengths: list[int] = []
        total = 0
        for request, position in queue:
            lengths.append(len(request.windows[position]))
            total += lengths[-1]
            if total > HORIZON * self._limits.batch_tokens:
                break
        return lengths

    def _choose_queue(self) -> deque[Entry]:
        if not (self._interactive and self._bulk):
            return self._interactive or self._bulk
        self._bulk_credit += self._limits.bulk_share
        if self._bulk_credit >= 1.0:
            self._bulk_credit -= 1.0
            return self._bulk
        return self._interactive

    def _explain(self, explanations: list[Explanation]) -> None:
        lengths = [len(window) for window, _ in explanations]
        for batch in length_sorted_batches(lengths, self._limits.batch_tokens):
            self._forward.attribute([explanations[i] for i in batch])

    def _abandon(self, in_hand: "list[Future[FloatArray]]") -> None:
        """Fail what is in hand and what waits, and let nothing in any more."""
        with self._changed:
            self._stopping = True
            futures = [*in_hand, *(r.future for r, _ in (*self._interactive, *self._bulk))]
            futures += [future for _, future in self._explanations]
            self._interactive.clear()
            self._bulk.clear()
            self._explanations.clear()
            self._changed.notify_all()
        for future in futures:
            with suppress(InvalidStateError):
                future.set_exception(EngineStopped("the engine was stopped; the job returns to the queue"))
