"""Screen over the queue: jobs to ``screening.bulk``, results from the result topic."""

import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any, TypeVar

from redis import Redis
from redis.exceptions import RedisError

from schemas.message import task_message
from schemas.names import EVENT_FIELD, QUEUE_BULK, STREAM_RESULTS
from tasks.bulk.registry import KEPT_S, Registry, run_key
from worker.bulk.backend import Done
from worker.bulk.chunks import Chunk
from worker.errors import RunCancelled, ServiceError

T = TypeVar("T")

ENTRIES = 1000
"""Results read in one call."""

REPORT_S = 1.0
SILENCE_S = 30.0
"""Seconds without a result of the run before it looks whether its jobs are still there."""

MAX_SENDINGS = 3
PATIENCE_S = 120.0
"""How long Redis may be away before the run gives up; it can be resumed."""


@dataclass(slots=True)
class _Waiting:
    """A chunk whose results are not all there.

    Attributes:
        items: How many results make it whole.
        results: By item number; the first of each counts.
        since: When its job was sent; None if an earlier sitting sent it.
        chunk: None while only its results have been seen, and not yet its rows.
    """

    items: int = 0
    results: dict[int, dict[str, Any]] = field(default_factory=dict)
    since: float | None = None
    chunk: Chunk | None = None

    @property
    def is_whole(self) -> bool:
        """Whether every item of a known chunk has its result."""
        return self.chunk is not None and len(self.results) >= self.items


class QueueBackend:
    """See ``worker.bulk.backend.Backend``.

    Args:
        redis: A client that decodes responses.
        run: Id of the run.
        position: Where to read the result topic from; by default from now on.
        is_done: Whether a chunk was written by an earlier sitting.
        again: How often lost chunks were sent again.
        report: Further fields of the run's entry in the registry, asked for at every report.
        silence_s: See ``SILENCE_S``.
    """

    def __init__(
        self,
        redis: "Redis",
        run: str,
        *,
        position: str = "",
        is_done: Callable[[int], bool] = lambda _: False,
        again: dict[int, int] | None = None,
        report: Callable[[], dict[str, Any]] = dict,
        silence_s: float = SILENCE_S,
    ):
        self._redis = redis
        self._run = run
        self._report = report
        self._is_done = is_done
        self._again = dict(again or {})
        self._silence_s = silence_s
        self._registry = Registry(redis)
        self._script = redis.register_script(files("tasks.bulk").joinpath("enqueue.lua").read_text(encoding="utf-8"))
        self._job_id = re.compile(rf"bulk-{re.escape(run)}-(\d+)(?:\.\d+)?")
        self._waiting: dict[int, _Waiting] = {}
        self._missing: set[int] = set()
        redis.hdel(run_key(run), "cancel")
        self.position = position or self._newest()
        self._reported = 0.0
        self._heard = time.monotonic()

    def submit(self, chunk: Chunk) -> None:
        """See ``Backend.submit``."""
        chunk.mark = self.position
        waiting = self._waiting.setdefault(chunk.number, _Waiting())
        waiting.items, waiting.chunk = len(chunk.places), chunk
        sent = self._push(chunk, self._again.get(chunk.number, 0))
        waiting.since = time.monotonic() if sent else None
        self._heard = time.monotonic()

    def collect(self, wait_s: float) -> list[Done]:
        """See ``Backend.collect``."""
        self._tell()
        for entry_id, fields in self._read(wait_s):
            self.position = entry_id
            self._take(fields[EVENT_FIELD])
        whole = [
            n
            for n, waiting in self._waiting.items()
            if waiting.chunk is not None and len(waiting.results) >= waiting.items
        ]
        if self._waiting and not whole and time.monotonic() - self._heard > self._silence_s:
            self._heard = time.monotonic()
            whole = self._look_for_lost()
        return [self._done(number) for number in whole]

    def again(self) -> dict[int, int]:
        """See ``Backend.again``."""
        return dict(self._again)

    def close(self, status: str) -> None:
        """See ``Backend.close``."""
        try:
            self._registry.report(self._run, status, **self._report())
            if status == "cancelled":
                self._registry.withdraw(self._run)
        except RedisError:
            return  # the checkpoint knows

    def _push(self, chunk: Chunk, sendings: int) -> bool:
        """Send a chunk's job unless it was sent; return whether it was sent now."""
        job = dict(chunk.job or {})
        mark, value = "sent", chunk.number + 1
        if sendings:
            # The first sending's results may have been published and trimmed: only another id brings new ones.
            job["job_id"] += f".{sendings + 1}"
            mark, value = f"again:{chunk.number}", sendings
        text = task_message(job, task_id=job["job_id"], queue=QUEUE_BULK)
        keys = [QUEUE_BULK, run_key(self._run)]
        arguments: list[str | int] = [text, mark, value, KEPT_S]
        return bool(self._patiently(lambda: self._script(keys=keys, args=arguments)))

    def _newest(self) -> str:
        newest: Any = self._redis.xrevrange(STREAM_RESULTS, count=1)
        return str(newest[0][0]) if newest else "0-0"

    def _read(self, wait_s: float) -> list[tuple[str, dict[str, str]]]:
        block = int(wait_s * 1000) or None
        reply: Any = self._patiently(
            lambda: self._redis.xread({STREAM_RESULTS: self.position}, count=ENTRIES, block=block)
        )
        return list(reply[0][1]) if reply else []

    def _take(self, text: str) -> None:
        """Note a result, if it is one of ours."""
        if self._run not in text:
            return  # most of them, while other traffic flows
        result = json.loads(text)["data"]
        found = self._job_id.fullmatch(str(result["job_id"]))
        if found is None or self._is_done(number := int(found[1])):
            return
        self._heard = time.monotonic()
        waiting = self._waiting.setdefault(number, _Waiting())
        if result["item_index"] is not None:
            waiting.results.setdefault(result["item_index"], result)
            return
        # The job as a whole failed: that is the answer for each of its items.
        for index in range(waiting.items):
            waiting.results.setdefault(index, result | {"item_index": index})

    def _done(self, number: int) -> Done:
        waiting = self._waiting.pop(number)
        took = time.monotonic() - waiting.since if waiting.since is not None else 0.0
        return Done(number, list(waiting.results.values()), took)

    def _look_for_lost(self) -> list[int]:
        """Send again what is neither queued nor in a worker's hands; return what was sent too often.

        A job counts as lost when it is missed twice in a row: in between its results may have arrived.
        """
        there = self._patiently(lambda: self._registry.under_way(self._run))
        numbers = {int(found[1]) for task_id in there if (found := self._job_id.fullmatch(task_id))}
        missing = {n for n, waiting in self._waiting.items() if waiting.chunk is not None} - numbers
        given_up = []
        for number in sorted(missing & self._missing):
            self._again[number] = self._again.get(number, 0) + 1
            if self._again[number] >= MAX_SENDINGS:
                given_up.append(number)
                continue
            chunk = self._waiting[number].chunk
            if chunk is not None:
                self._push(chunk, self._again[number])
        self._missing = missing - self._missing
        return given_up

    def _tell(self) -> None:
        """Report once in a while, and hear whether the run is cancelled."""
        if time.monotonic() - self._reported < REPORT_S:
            return
        self._reported = time.monotonic()
        if self._patiently(lambda: self._registry.report(self._run, "running", **self._report())):
            raise RunCancelled(f"run {self._run} was cancelled; `--resume` takes it up again")

    def _patiently(self, call: Callable[[], T]) -> T:
        """Call Redis, and again while it is away; every call here may be repeated.

        Raises:
            ServiceError: It stayed away for ``PATIENCE_S``.
        """
        deadline = time.monotonic() + PATIENCE_S
        for pause in _pauses():
            try:
                return call()
            except RedisError as error:
                if time.monotonic() + pause > deadline:
                    raise ServiceError(
                        f"Redis did not answer for {PATIENCE_S:.0f} s ({type(error).__name__}); go on with --resume"
                    ) from None
                time.sleep(pause)
        raise AssertionError("unreachable")


def _pauses() -> Iterator[float]:
    pause = 0.1
    while True:
        yield pause
        pause = min(5.0, 2 * pause)
