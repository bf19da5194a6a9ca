"""Count how often a job was started, so that one that kills its worker does not do so for ever."""

from contextlib import suppress
from typing import Protocol

from redis import Redis
from redis.exceptions import RedisError

from worker.errors import TopicError

ATTEMPTS_PREFIX = "firewall:attempts:"


class Attempts(Protocol):
    """Counts starts by the broker's task id, which stays the same over redeliveries."""

    def start(self, task_id: str) -> int:
        """Count a start and return its number, 1 for the first."""
        ...

    def finish(self, task_id: str) -> None:
        """Forget a task that came to an end."""
        ...

    def refund(self, task_id: str) -> None:
        """Take back a start that the worker, not the job, brought to nothing."""
        ...


class RedisAttempts:
    """Counts in Redis; a count nobody finishes is forgotten after ``ttl_s`` seconds."""

    def __init__(self, redis: "Redis", ttl_s: int):
        self._redis = redis
        self._ttl_s = ttl_s

    def start(self, task_id: str) -> int:
        """See ``Attempts.start``."""
        try:
            with self._redis.pipeline(transaction=True) as pipeline:
                pipeline.incr(ATTEMPTS_PREFIX + task_id)
                pipeline.expire(ATTEMPTS_PREFIX + task_id, self._ttl_s)
                return int(pipeline.execute()[0])
        except RedisError as error:
            raise TopicError(f"Redis does not count the job's attempts ({type(error).__name__})") from None

    def finish(self, task_id: str) -> None:
        """See ``Attempts.finish``. Best effort: a count left behind expires."""
        with suppress(RedisError):
            self._redis.delete(ATTEMPTS_PREFIX + task_id)

    def refund(self, task_id: str) -> None:
        """See ``Attempts.refund``. Best effort: one start too many is counted at worst."""
        with suppress(RedisError), self._redis.pipeline(transaction=True) as pipeline:
            pipeline.decr(ATTEMPTS_PREFIX + task_id)
            pipeline.expire(ATTEMPTS_PREFIX + task_id, self._ttl_s)
            pipeline.execute()
