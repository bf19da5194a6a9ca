"""Publish results and alarms to the result topic, each once, however often a job is delivered."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Protocol

from redis import Redis
from redis.exceptions import RedisError

from schemas.alarm import Alarm
from schemas.dead_letter import DeadLetter
from schemas.event import AlarmEvent, DeadLetterEvent, ResultEvent
from schemas.names import EVENT_FIELD, STREAM_ALARMS, STREAM_DEAD, STREAM_RESULTS
from schemas.result import ItemResult
from worker.errors import TopicError
from worker.settings import Settings
from worker.topic.connection import connect
from worker.webhooks.schedule import lua

DEDUPE_PREFIX = "firewall:published:"
CHUNK = 128
"""Results of one script call; Redis serves nobody else while a script runs."""

RETRY_DELAYS_S = (0.1, 0.5, 2.0, 5.0)


@dataclass(frozen=True)
class TopicLimits:
    """How much the topic keeps; see the settings of the same names."""

    results_maxlen: int = 1_000_000
    alarms_maxlen: int = 1_000_000
    dead_maxlen: int = 100_000
    dedupe_ttl_s: int = 86_400


class Publisher(Protocol):
    """Takes what a job came to. ``InMemoryPublisher`` behaves the same for users' tests."""

    def publish(self, outcomes: Sequence[tuple[ItemResult, Alarm | None]]) -> int:
        """Publish results and their alarms; return how many had not been published before.

        Raises:
            TopicError: Redis did not take them. The job must not be acknowledged.
        """
        ...

    def bury(self, letter: DeadLetter) -> None:
        """Put a job into the dead-letter stream.

        Raises:
            TopicError: Redis did not take it.
        """
        ...


class RedisPublisher:
    """Publishes to Redis Streams by one idempotent script."""

    def __init__(self, redis: "Redis", limits: TopicLimits):
        self._redis = redis
        self._limits = limits
        publish = files("worker.topic").joinpath("publish.lua").read_text(encoding="utf-8")
        self._script = redis.register_script(f"{lua('messages.lua', 'schedule.lua')}\n{publish}")

    def publish(self, outcomes: Sequence[tuple[ItemResult, Alarm | None]]) -> int:
        """See ``Publisher.publish``. A chunk that was published before is refused by the script."""
        return sum(self._publish(outcomes[i : i + CHUNK]) for i in range(0, len(outcomes), CHUNK))

    def bury(self, letter: DeadLetter) -> None:
        """See ``Publisher.bury``."""
        event = DeadLetterEvent(id=f"{letter.task_id}:{letter.attempts}", subject=letter.task_id, data=letter)
        self._retried(
            lambda: self._redis.xadd(
                STREAM_DEAD,
                {EVENT_FIELD: event.model_dump_json()},
                maxlen=self._limits.dead_maxlen,
                approximate=True,
            )
        )

    def _publish(self, outcomes: Sequence[tuple[ItemResult, Alarm | None]]) -> int:
        keys = [STREAM_RESULTS, STREAM_ALARMS]
        arguments: list[str | int] = [
            self._limits.results_maxlen,
            self._limits.alarms_maxlen,
            self._limits.dedupe_ttl_s,
        ]
        for result, alarm in outcomes:
            keys.append(DEDUPE_PREFIX + result.result_id)
            arguments.append(ResultEvent(id=result.result_id, subject=result.job_id, data=result).model_dump_json())
            arguments.append(
                ""
                if alarm is None
                else AlarmEvent(id=alarm.alarm_id, subject=alarm.job_id, data=alarm).model_dump_json()
            )
        return int(str(self._retried(lambda: self._script(keys=keys, args=arguments))))

    def _retried(self, call: Callable[[], object]) -> object:
        """Call Redis again after short failures; every call here may be repeated safely."""
        for delay in (*RETRY_DELAYS_S, None):
            try:
                return call()
            except RedisError as error:
                if delay is None:
                    raise TopicError(
                        f"Redis did not take the results ({type(error).__name__}); the job is not acknowledged "
                        "and will be delivered again. Check the memory and reachability of Redis."
                    ) from None
                time.sleep(delay)
        raise AssertionError("unreachable")


def redis_publisher(settings: Settings) -> RedisPublisher:
    """Return a publisher with the settings' Redis and limits."""
    limits = TopicLimits(
        results_maxlen=settings.results_maxlen,
        alarms_maxlen=settings.alarms_maxlen,
        dead_maxlen=settings.dead_maxlen,
        dedupe_ttl_s=settings.dedupe_ttl_s,
    )
    return RedisPublisher(connect(settings), limits)


class InMemoryPublisher:
    """A publisher for tests of code that uses the worker: same rules, no Redis."""

    def __init__(self) -> None:
        self.results: list[ItemResult] = []
        self.alarms: list[Alarm] = []
        self.dead: list[DeadLetter] = []
        self._seen: set[str] = set()

    def publish(self, outcomes: Sequence[tuple[ItemResult, Alarm | None]]) -> int:
        """See ``Publisher.publish``."""
        before = len(self.results)
        for result, alarm in outcomes:
            if result.result_id in self._seen:
                continue
            self._seen.add(result.result_id)
            self.results.append(result)
            if alarm is not None:
                self.alarms.append(alarm)
        return len(self.results) - before

    def bury(self, letter: DeadLetter) -> None:
        """See ``Publisher.bury``."""
        self.dead.append(letter)
