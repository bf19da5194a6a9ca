"""Who screens a chunk: a worker behind the queue, or this very process."""

from dataclasses import dataclass, field
from typing import Any, Protocol

from worker.bulk.chunks import Chunk


@dataclass(slots=True)
class Done:
    """A chunk's results.

    Attributes:
        number: The chunk's.
        results: One result for every item of its job, as JSON objects (``schemas.result.ItemResult``).
        seconds: From handing the job over to the last result.
    """

    number: int
    results: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0


class Backend(Protocol):
    """Takes jobs and gives results back, in any order."""

    @property
    def position(self) -> str:
        """Up to where the result topic was read; empty where there is none."""
        ...

    def submit(self, chunk: Chunk) -> None:
        """Hand a chunk's job over; one that was handed over by an earlier sitting is only waited for.

        Raises:
            ServiceError: Redis does not answer.
        """
        ...

    def collect(self, wait_s: float) -> list[Done]:
        """Return chunks that are done, waiting up to ``wait_s`` seconds for the first.

        Raises:
            RunCancelled: Somebody cancelled the run.
            ServiceError: Redis does not answer.
        """
        ...

    def again(self) -> dict[int, int]:
        """Return how often lost chunks were sent again, by number."""
        ...

    def close(self, status: str) -> None:
        """Let go of everything; ``status`` is what becomes of the run."""
        ...
