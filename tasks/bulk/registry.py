"""What Redis knows of bulk runs, for ``bulk status`` and ``bulk cancel`` from any machine."""

import json
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from redis import Redis

from schemas.names import QUEUE_BULK

RUNS = "firewall:bulk:runs"
"""Sorted set of run ids by the time they were last seen."""

KEPT_S = 7 * 86_400
SILENT_S = 15.0
"""Seconds after which a run that does not report is taken for dead."""

TAKEN = ("unacked", "firewall:unacked")
"""Hashes in which the transports note messages that a worker holds."""

PAGE = 16
"""Messages looked at in one call; each may have a megabyte."""


def run_key(run: str) -> str:
    """Return the key of a run's hash."""
    return f"firewall:bulk:{run}"


@dataclass(frozen=True, slots=True)
class RunInfo:
    """A run as others see it.

    Attributes:
        run: Its id.
        status: running, interrupted, cancelled or finished; ``silent`` if it should be running and is not seen.
        out: The output file, on the machine ``host``.
        rows, flagged, errors: So far.
        sent: Jobs sent.
        seen: Seconds since it last reported.
    """

    run: str
    status: str
    host: str
    out: str
    rows: int
    flagged: int
    errors: int
    sent: int
    seen: float


class Registry:
    """Entries of the runs."""

    def __init__(self, redis: "Redis"):
        self._redis = redis

    def report(self, run: str, status: str, **fields: Any) -> bool:
        """Say how a run is doing; return whether somebody asked it to stop."""
        with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.hget(run_key(run), "cancel")
            host = f"{socket.gethostname()}:{os.getpid()}"
            entry: dict[Any, Any] = {"status": status, "host": host, "seen": time.time(), **fields}
            pipeline.hset(run_key(run), mapping=entry)
            pipeline.expire(run_key(run), KEPT_S)
            pipeline.zadd(RUNS, {run: time.time()})
            pipeline.zremrangebyscore(RUNS, "-inf", time.time() - KEPT_S)
            return pipeline.execute()[0] is not None

    def runs(self) -> list[RunInfo]:
        """Return all runs that are remembered, the latest first."""
        names = [str(name) for name in self._redis.zrange(RUNS, 0, -1, desc=True)]
        return [info for name in names if (info := self.find(name)) is not None]

    def find(self, run: str) -> RunInfo | None:
        """Return a run, if it is remembered."""
        entry: Any = self._redis.hgetall(run_key(run))
        if "status" not in entry:
            return None
        seen = time.time() - float(entry["seen"])
        silent = entry["status"] == "running" and seen > SILENT_S
        return RunInfo(
            run=run,
            status="silent" if silent else entry["status"],
            host=entry.get("host", ""),
            out=entry.get("out", ""),
            rows=int(entry.get("rows", 0)),
            flagged=int(entry.get("flagged", 0)),
            errors=int(entry.get("errors", 0)),
            sent=int(entry.get("sent", 0)),
            seen=seen,
        )

    def cancel(self, run: str) -> int:
        """Ask a run to stop and take its waiting jobs out of the queue; return how many."""
        self._redis.hset(run_key(run), "cancel", "1")
        return self.withdraw(run)

    def withdraw(self, run: str) -> int:
        """Take a run's waiting jobs out of the queue. What a worker holds already is still screened."""
        removed = 0
        for text, _ in list(self._waiting(f"bulk-{run}-")):
            removed += int(self._redis.lrem(QUEUE_BULK, 1, text))
        # A run that is resumed sends them again: the marks of what was sent are void.
        self._redis.hdel(run_key(run), "sent")
        return removed

    def under_way(self, run: str) -> set[str]:
        """Return the ids of the run's jobs that are in the queue or in a worker's hands."""
        prefix = f"bulk-{run}-"
        # First the queue: a job that moves on while this looks is found in the second place.
        found = {task_id for _, task_id in self._waiting(prefix)}
        for key in TAKEN:
            for _, text in self._redis.hscan_iter(key, count=PAGE):
                if (task_id := _task_id(text, prefix)) is not None:
                    found.add(task_id)
        return found

    def _waiting(self, prefix: str) -> Iterator[tuple[str, str]]:
        # Upwards: what is pushed meanwhile moves messages on, what is taken meanwhile moves none, so that the
        # eye may meet one twice and passes none.
        start = 0
        while texts := self._redis.lrange(QUEUE_BULK, start, start + PAGE - 1):
            start += PAGE
            for text in texts:
                if (task_id := _task_id(str(text), prefix)) is not None:
                    yield str(text), task_id


def _task_id(text: str, prefix: str) -> str | None:
    """Return the id of a job of the run, if the message is one."""
    if prefix not in text:
        return None
    try:
        message = json.loads(text)
        # Kombu notes a taken message together with where it came from.
        headers = (message[0] if isinstance(message, list) else message)["headers"]
        task_id = str(headers["id"])
    except (ValueError, LookupError, TypeError):
        return None
    return task_id if task_id.startswith(prefix) else None
