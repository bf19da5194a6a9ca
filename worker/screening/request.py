"""What a task thread waits for: a document on its way through the engine."""

from collections.abc import Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field

from worker.errors import EngineError
from worker.model.encoder import FloatArray
from worker.model.windows import Window


@dataclass(eq=False, slots=True)
class Request:
    """A document's windows and what has become of them."""

    windows: Sequence[Window]
    logits: FloatArray
    missing: int
    future: "Future[FloatArray]" = field(default_factory=Future)

    def put(self, position: int, row: FloatArray) -> None:
        """Set the logits of one window, float32 ``(n_signals,)``; the last one ends the request."""
        self.logits[position] = row
        self.missing -= 1
        if self.missing == 0:
            with suppress(InvalidStateError):  # the job was given up meanwhile
                self.future.set_result(self.logits)

    def fail(self, error: EngineError) -> None:
        """End the request with an error, if it has not ended."""
        with suppress(InvalidStateError):
            self.future.set_exception(error)
