"""What a run costs without screening: read, cut into jobs, take results back, write, remember."""

import time
from pathlib import Path
from typing import Any

from benchmarks.bulk.corpus import records_in
from worker.bulk.backend import Backend, Done
from worker.bulk.checkpoint import RunDirectory
from worker.bulk.chunks import Chunk
from worker.bulk.output import OutputPlan
from worker.bulk.records import KEPT
from worker.bulk.rows import Columns
from worker.bulk.run import Request, Run
from worker.bulk.sources import find_inputs


class Answering:
    """A ``worker.bulk.backend.Backend`` that answers every item at once with the same result."""

    position = ""

    def __init__(self, result: dict[str, Any]):
        self._result = result
        self._done: list[Done] = []

    def submit(self, chunk: Chunk) -> None:
        """See ``Backend.submit``."""
        results = [{**self._result, "item_index": index} for index in range(len(chunk.places))]
        self._done.append(Done(chunk.number, results))

    def collect(self, wait_s: float) -> list[Done]:
        """See ``Backend.collect``; there is never anything to wait for."""
        del wait_s
        done, self._done = self._done, []
        return done

    def again(self) -> dict[int, int]:
        """See ``Backend.again``."""
        return {}

    def close(self, status: str) -> None:
        """See ``Backend.close``."""


def through(backend_of_run: Any, corpus: Path, out: Path) -> tuple[int, float]:
    """Run a corpus in this process; return rows and seconds from the first row read to the last one written.

    Args:
        backend_of_run: Makes the backend from the run's id.
        corpus: JSON lines.
        out: Written anew.
    """
    request = Request(inputs=find_inputs([str(corpus)]), columns=Columns(), outputs=OutputPlan(out))
    directory = RunDirectory(out)
    with directory.locked():
        run = Run(request, directory, resume=False, force=True)
        backend: Backend = backend_of_run(run.checkpoint.run)
        start = time.perf_counter()
        run.go(backend, lambda _: None)
        return run.tally.rows, time.perf_counter() - start


def alone(corpus: Path, out: Path) -> float:
    """Return rows a second without screening, with records like the first screened one of ``out``."""
    record = next(record for record in records_in(out) if record.get("status") == "screened")
    result = {name: record[name] for name in KEPT if name in record}
    rows, seconds = through(lambda _: Answering(result), corpus, out.with_name("alone.jsonl"))
    return rows / seconds
