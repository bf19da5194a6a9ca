"""Publish results and alarms to the result topic, each once, however often a job is delivered."""

import hashlib
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Protocol

from redis import Redis
from redis.exceptions import RedisError

from schemas.alarm import Alarm
from schemas.dead_letter import DeadLetter
from schemas.drift import Drift
from schemas.event import AlarmEvent, DeadLetterEvent, DriftEvent, ResultEvent
from schemas.names import EVENT_FIELD, STREAM_ALARMS, STREAM_DEAD, STREAM_DRIFT, STREAM_RESULTS
from schemas.result import ItemResult
from worker.errors import TopicError
from worker.settings import Settings
from worker.topic.connection import connect
from worker.webhooks.schedule import lua

DEDUPE_PREFIX = "firewall:published:"
CHUNK = 128
"""Results of one script call; Redis serves nobody else while a script runs."""

DRIFT_MAXLEN = 10_000
"""Entries kept of a stream that gets a few a month (approximate)."""

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

    def publish(self, outcomes: Sequence[tuple[ItemResult, Alarm | None]], contents: Sequence[str] = ()) -> int:
        """Publish results and their alarms; return how many had not been published before.

        Args:
            outcomes: Results with their alarms.
            contents: For each a fingerprint of what was screened, remembered with the result's id; may be left away.

        Raises:
            TopicError: Redis did not take them. The job must not be acknowledged.
        """
        ...

    def contents(self, result_ids: Sequence[str]) -> list[str]:
        """Return what ``publish`` remembers for each result id; empty for one it does not know.

        Raises:
            TopicError: Redis did not answer.
        """
        ...

    def bury(self, letter: DeadLetter) -> None:
        """Put a job into the dead-letter stream; the same letter once, however often it is buried.

        Raises:
            TopicError: Redis did not take it.
        """
        ...

    def report(self, drift: Drift) -> None:
        """Publish a drift; tried once, a job waits meanwhile.

        Raises:
            TopicError: Redis did not take it.
        """
        ...


class RedisPublisher:
    """Publishes to Redis Streams by one idempotent script."""

    def __init__(self, redis: "Redis", limits: TopicLimits):
        self._redis = redis
        self._limits = limits
        scheduling = lua("messages.lua", "schedule.lua")
        self._script = redis.register_script(scheduling + "\n" + _text("publish.lua"))
        self._bury = redis.register_script(_text("bury.lua"))

    def publish(self, outcomes: Sequence[tuple[ItemResult, Alarm | None]], contents: Sequence[str] = ()) -> int:
        """See ``Publisher.publish``. A chunk that was published before is refused by the script."""
        contents = contents or [""] * len(outcomes)
        chunks = [slice(i, i + CHUNK) for i in range(0, len(outcomes), CHUNK)]
        return sum(self._publish(outcomes[chunk], contents[chunk]) for chunk in chunks)

    def contents(self, result_ids: Sequence[str]) -> list[str]:
        """See ``Publisher.contents``."""
        keys = [DEDUPE_PREFIX + name for name in result_ids]
        found: Any = self._retried(lambda: self._redis.mget(keys)) if keys else []
        return [value or "" for value in found]

    def bury(self, letter: DeadLetter) -> None:
        """See ``Publisher.bury``."""
        event = DeadLetterEvent(id=letter_id(letter), subject=letter.task_id, data=letter)
        keys = [STREAM_DEAD, DEDUPE_PREFIX + event.id]
        arguments: list[str | int] = [self._limits.dead_maxlen, self._limits.dedupe_ttl_s, event.model_dump_json()]
        self._retried(lambda: self._bury(keys=keys, args=arguments))

    def report(self, drift: Drift) -> None:
        """See ``Publisher.report``."""
        event = DriftEvent(id=str(uuid.uuid4()), subject=drift.policy, data=drift)
        try:
            self._redis.xadd(STREAM_DRIFT, {EVENT_FIELD: event.model_dump_json()}, maxlen=DRIFT_MAXLEN)
        except RedisError as error:
            raise TopicError(f"Redis did not take the drift event ({type(error).__name__})") from None

    def _publish(self, outcomes: Sequence[tuple[ItemResult, Alarm | None]], contents: Sequence[str]) -> int:
        keys = [STREAM_RESULTS, STREAM_ALARMS]
        arguments: list[str | int] = [
            self._limits.results_maxlen,
            self._limits.alarms_maxlen,
            self._limits.dedupe_ttl_s,
        ]
        for (result, alarm), content in zip(outcomes, contents, strict=True):
            keys.append(DEDUPE_PREFIX + result.result_id)
            arguments.append(ResultEvent(id=result.result_id, subject=result.job_id, data=result).model_dump_json())
            arguments.append(
                ""
                if alarm is None
                else AlarmEvent(id=alarm.alarm_id, subject=alarm.job_id, data=alarm).model_dump_json()
            )
            arguments.append(content)
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


def letter_id(letter: DeadLetter) -> str:
    """Identify a letter, the same however often its job is delivered: job, reason and payload."""
    content = hashlib.blake2b(letter.payload.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
    return f"{letter.task_id}:{letter.error.code}:{content}"


def _text(name: str) -> str:
    return files("worker.topic").joinpath(name).read_text(encoding="utf-8")


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
        self.drifts: list[Drift] = []
        self._seen: dict[str, str] = {}

    def publish(self, outcomes: Sequence[tuple[ItemResult, Alarm | None]], contents: Sequence[str] = ()) -> int:
        """See ``Publisher.publish``."""
        before = len(self.results)
        for (result, alarm), content in zip(outcomes, contents or [""] * len(outcomes), strict=True):
            if result.result_id in self._seen:
                continue
            self._seen[result.result_id] = content
            self.results.append(result)
            if alarm is not None:
                self.alarms.append(alarm)
        return len(self.results) - before

    def contents(self, result_ids: Sequence[str]) -> list[str]:
        """See ``Publisher.contents``."""
        return [self._seen.get(name, "") for name in result_ids]

    def bury(self, letter: DeadLetter) -> None:
        """See ``Publisher.bury``."""
        if letter_id(letter) not in map(letter_id, self.dead):
            self.dead.append(letter)

    def report(self, drift: Drift) -> None:
        """See ``Publisher.report``."""
        self.drifts.append(drift)
