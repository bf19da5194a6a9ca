"""Note every start of a job until its end, so that one that kills its worker does not do so for ever."""

import os
import socket
import uuid
from contextlib import suppress
from dataclasses import dataclass
from importlib.resources import files
from typing import Protocol

from redis import Redis
from redis.exceptions import RedisError

from schemas.dead_letter import Start
from schemas.event import utc_now
from worker.errors import TopicError

ATTEMPTS_PREFIX = "firewall:attempts:"


@dataclass(frozen=True, slots=True)
class Attempt:
    """A start of a job, or the refusal of one.

    Attributes:
        starts: All starts of the job that did not come to an end, this one included if it was noted.
        noted: Whether this start was noted; if not, an earlier one of the job has not come to an end.
        key: What ``refund`` takes back.
    """

    starts: tuple[Start, ...]
    noted: bool
    key: str = ""

    @property
    def number(self) -> int:
        """1 for the first start."""
        return len(self.starts)


class Attempts(Protocol):
    """Notes starts by the broker's task id, which stays the same over redeliveries."""

    def start(self, task_id: str, *, again: bool = False) -> Attempt:
        """Note a start, unless an earlier one has not ended and it is not said to be ``again``.

        Raises:
            TopicError: Redis did not note it.
        """
        ...

    def finish(self, task_id: str) -> None:
        """Forget a task that came to an end."""
        ...

    def refund(self, task_id: str, attempt: Attempt) -> None:
        """Take back a start that the worker, not the job, brought to nothing."""
        ...


class RedisAttempts:
    """Notes starts in Redis; those of a job nobody finishes are forgotten after ``ttl_s`` seconds."""

    def __init__(self, redis: "Redis", ttl_s: int):
        self._redis = redis
        self._ttl_s = ttl_s
        self._worker = f"{socket.gethostname()}:{os.getpid()}"
        self._script = redis.register_script(files("worker.topic").joinpath("start.lua").read_text(encoding="utf-8"))

    def start(self, task_id: str, *, again: bool = False) -> Attempt:
        """See ``Attempts.start``."""
        key = f"{utc_now()} {self._worker} {uuid.uuid4().hex[:8]}"
        try:
            found = self._script(keys=[ATTEMPTS_PREFIX + task_id], args=[key, self._ttl_s, "again" if again else ""])
        except RedisError as error:
            raise TopicError(f"Redis does not count the job's attempts ({type(error).__name__})") from None
        starts = tuple(Start(time=entry.split()[0], worker=entry.split()[1]) for entry in found)
        return Attempt(starts, noted=key in found, key=key)

    def finish(self, task_id: str) -> None:
        """See ``Attempts.finish``. Best effort: starts left behind expire."""
        with suppress(RedisError):
            self._redis.delete(ATTEMPTS_PREFIX + task_id)

    def refund(self, task_id: str, attempt: Attempt) -> None:
        """See ``Attempts.refund``. Best effort: one start too many is counted at worst."""
        with suppress(RedisError):
            self._redis.lrem(ATTEMPTS_PREFIX + task_id, 1, attempt.key)
