"""The run itself: read, hand over, take back, write, remember. One thread; the screening happens elsewhere."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from worker.bulk.backend import Backend, Done
from worker.bulk.checkpoint import Checkpoint, RunDirectory, RunStatus
from worker.bulk.chunks import Chunk
from worker.bulk.output import Outputs
from worker.bulk.records import records_of
from worker.bulk.tally import Tally
from worker.errors import FirewallError, RunCancelled, RunConflict

CHECKPOINT_S = 1.0
"""Seconds between two checkpoints: how much is written again after a kill. Nothing is screened again."""

COLLECT_S = 0.2


@dataclass(frozen=True, slots=True)
class Flow:
    """How much may be under way, and in which order it is written.

    Attributes:
        items: Rows read and not written yet.
        bytes: Of their texts together; a single larger text still goes, alone.
        in_order: Write in the order of the input, or as results come.
    """

    items: int = 4096
    bytes: int = 64 * 1024 * 1024
    in_order: bool = True


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is, for whoever shows it."""

    tally: Tally
    last_row: tuple[str, int] | None
    in_flight: int


class Pipeline:
    """A run in one process.

    Args:
        checkpoint: Where to go on from; changed as the run goes.
        directory: Where it is kept.
        outputs: Opened at the checkpoint's offsets.
        backend: Who screens.
        flow: See ``Flow``.
        progress: Called after every step.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        directory: RunDirectory,
        outputs: Outputs,
        backend: Backend,
        flow: Flow,
        progress: Callable[[Progress], None],
    ):
        self._checkpoint = checkpoint
        self._directory = directory
        self._outputs = outputs
        self._backend = backend
        self._flow = flow
        self._progress = progress
        self.tally = Tally.model_validate(checkpoint.tally) if checkpoint.tally else Tally()
        self._done = set(checkpoint.done)
        self._digests: dict[int, str] = {}
        self._under_way: dict[int, Chunk] = {}
        self._ready: dict[int, Done] = {}
        self._items = self._bytes = 0
        self._stopping = False
        self._last: tuple[str, int] | None = None
        self._before_s = checkpoint.seconds
        self._begun = time.monotonic()
        self._saved = self._begun

    def stop(self) -> None:
        """Have ``run`` return at its next safe moment; for signal handlers."""
        self._stopping = True

    def run(self, chunks: Iterator[Chunk]) -> RunStatus:
        """Screen all chunks.

        Args:
            chunks: Of the whole input from its beginning; what is done already is passed over.

        Returns:
            ``finished``, or ``interrupted`` if ``stop`` was called.

        Raises:
            RunConflict: The input is not the one the run was started with.
            RunCancelled: Somebody cancelled the run; the checkpoint says so.
            FirewallError: An input cannot be read, or a service is not there. The checkpoint is up to date.
        """
        status: RunStatus = "interrupted"
        # Before the first job: where the topic stood then is where a resumed run must read from.
        self._save("running")
        try:
            self._loop(self._not_done(chunks))
            status = "interrupted" if self._stopping else "finished"
            self._save(status)
        except FirewallError as error:
            # Ours come at moments when all that is written is whole. After any other exception, as after a
            # kill, the last checkpoint is the truth.
            status = "cancelled" if isinstance(error, RunCancelled) else "interrupted"
            self._save(status)
            raise
        finally:
            self._outputs.close()
            self._backend.close(status)
        return status

    def _loop(self, chunks: Iterator[Chunk]) -> None:
        following = next(chunks, None)
        while (following is not None or self._under_way) and not self._stopping:
            wait_s = COLLECT_S
            if following is not None and self._fits(following):
                self._take(following)
                following = next(chunks, None)
                wait_s = 0.0
            for done in self._backend.collect(wait_s):
                self._ready[done.number] = done
            self._write()
            if time.monotonic() - self._saved >= CHECKPOINT_S:
                self._save("running")
            self._progress(Progress(self.tally, self._last, self._items))

    def _fits(self, chunk: Chunk) -> bool:
        items, size = self._items + len(chunk.rows), self._bytes + chunk.size
        return not self._under_way or (items <= self._flow.items and size <= self._flow.bytes)

    def _take(self, chunk: Chunk) -> None:
        self._under_way[chunk.number] = chunk
        self._items += len(chunk.rows)
        self._bytes += chunk.size
        if chunk.job is None:
            self._ready[chunk.number] = Done(chunk.number)
        else:
            self._backend.submit(chunk)

    def _write(self) -> None:
        """Write what may be written, oldest first."""
        while self._ready:
            number = next(iter(self._under_way)) if self._flow.in_order else next(iter(self._ready))
            if number not in self._ready:
                return
            done, chunk = self._ready.pop(number), self._under_way.pop(number)
            records = records_of(chunk, done.results)
            self._outputs.write(chunk.rows, records)
            self.tally.add(chunk, records, at_s=self._seconds(), took_s=done.seconds)
            self._items -= len(chunk.rows)
            self._bytes -= chunk.size
            self._last = (chunk.rows[-1].input, chunk.rows[-1].position)
            self._mark_done(number)

    def _mark_done(self, number: int) -> None:
        state = self._checkpoint
        self._done.add(number)
        while state.done_below in self._done:
            self._done.remove(state.done_below)
            state.digest = self._digests.pop(state.done_below)
            state.done_below += 1

    def _not_done(self, chunks: Iterator[Chunk]) -> Iterator[Chunk]:
        """Pass over what is written, and make sure that it is what is read now."""
        below, expected = self._checkpoint.done_below, self._checkpoint.digest
        count, digest = 0, ""
        for chunk in chunks:
            if chunk.number == below:
                _same_input(digest, expected)
            count, digest = chunk.number + 1, chunk.digest
            if chunk.number >= below:
                self._digests[chunk.number] = digest
                if chunk.number not in self._done:
                    yield chunk
        if count <= below:
            _same_input(digest if count == below else "shorter", expected)

    def _save(self, status: RunStatus) -> None:
        state = self._checkpoint
        state.status = status
        state.offsets = self._outputs.sync()
        state.done = sorted(self._done)
        state.position = next((c.mark for c in self._under_way.values() if c.mark), self._backend.position)
        state.again = self._backend.again()
        state.seconds = self._seconds()
        state.tally = self.tally.model_dump(mode="json")
        self._directory.save(state)
        self._saved = time.monotonic()

    def _seconds(self) -> float:
        return self._before_s + time.monotonic() - self._begun


def _same_input(digest: str, expected: str) -> None:
    if digest != expected:
        raise RunConflict("the input has changed since the run began; restore it, or start over with --force")
