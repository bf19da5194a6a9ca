"""Publishing without Redis: the in-memory publisher, and what the real one does when Redis fails."""

import json
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from schemas import Alarm, DeadLetter, Drift, ErrorInfo, ItemResult
from worker.errors import TopicError
from worker.topic import publisher as publisher_module
from worker.topic.publisher import (
    CHUNK,
    DEDUPE_PREFIX,
    InMemoryPublisher,
    RedisPublisher,
    TopicLimits,
    letter_id,
)


def result(name: str) -> ItemResult:
    return ItemResult(result_id=name, job_id="j", item_id=name, item_index=0, status="screened")


def alarm(name: str) -> Alarm:
    return Alarm(
        alarm_id=name,
        job_id="j",
        item_id=name,
        severity="notice",
        signal="jailbreak",
        p_value=0.001,
        signals=[],
        evidence=[],
        policy="default",
        codebook="c",
    )


def letter(payload: str = "null") -> DeadLetter:
    error = ErrorInfo(code="not_a_job", message="m", retryable=False)
    return DeadLetter(task_id="t", queue="screening", attempts=2, error=error, payload=payload)


def drift() -> Drift:
    return Drift(
        codebook="c",
        policy="default",
        worker="host:1",
        direction="smaller",
        distance=0.2,
        tolerated=0.05,
        windows=3,
        texts=4,
        flagged=1,
        above=0.01,
        counts=[4, 0],
        remedy="recalibrate",
    )


class FakeRedis:
    """Records what it is asked, and fails the first calls."""

    def __init__(self, failures: int = 0):
        self.failures = failures
        self.calls: list[tuple[list[str], list[Any]]] = []

    def register_script(self, script: str) -> Any:
        return self._run

    def _run(self, keys: list[str], args: list[Any]) -> int:
        self._fail()
        self.calls.append((keys, args))
        return len(keys) - 2

    def xadd(self, stream: str, fields: dict[str, str], maxlen: int) -> None:
        self._run([stream], [maxlen, fields])

    def _fail(self) -> None:
        if self.failures:
            self.failures -= 1
            raise RedisConnectionError("password=hunter2")


def redis_publisher(redis: FakeRedis) -> RedisPublisher:
    return RedisPublisher(redis, TopicLimits())  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    taken: list[float] = []
    monkeypatch.setattr(publisher_module.time, "sleep", taken.append)
    return taken


def test_memory_keeps_results_and_alarms_in_order() -> None:
    topic = InMemoryPublisher()
    assert topic.publish([(result("a"), None), (result("b"), alarm("b"))]) == 2
    assert [entry.result_id for entry in topic.results] == ["a", "b"]
    assert [entry.alarm_id for entry in topic.alarms] == ["b"]


def test_memory_publishes_an_id_once() -> None:
    topic = InMemoryPublisher()
    topic.publish([(result("a"), alarm("a"))])
    assert topic.publish([(result("a"), alarm("a")), (result("b"), None)]) == 1
    assert len(topic.results) == 2
    assert len(topic.alarms) == 1


def test_memory_publishes_an_id_once_within_one_call() -> None:
    # The script of the real publisher sees the first one's key before it comes to the second.
    topic = InMemoryPublisher()
    assert topic.publish([(result("a"), None), (result("a"), None)]) == 1
    assert len(topic.results) == 1


def test_memory_keeps_the_dead() -> None:
    topic = InMemoryPublisher()
    topic.bury(letter())
    assert topic.dead == [letter()]


def test_script_gets_a_key_two_events_and_a_fingerprint_a_result() -> None:
    redis = FakeRedis()
    assert redis_publisher(redis).publish([(result("a"), None), (result("b"), alarm("b"))], ["x", "y"]) == 2
    [(keys, arguments)] = redis.calls
    assert keys == ["firewall:results", "firewall:alarms", f"{DEDUPE_PREFIX}a", f"{DEDUPE_PREFIX}b"]
    assert arguments[4] == ""
    assert json.loads(arguments[6])["type"] == "alknet.firewall.result.v1"
    assert json.loads(arguments[7])["type"] == "alknet.firewall.alarm.v1"
    assert (arguments[5], arguments[8]) == ("x", "y")
    assert len(arguments) == 9


def test_large_jobs_are_published_in_chunks() -> None:
    redis = FakeRedis()
    outcomes = [(result(str(n)), None) for n in range(CHUNK + 1)]
    assert redis_publisher(redis).publish(outcomes) == CHUNK + 1
    assert [len(keys) - 2 for keys, _ in redis.calls] == [CHUNK, 1]


def test_nothing_to_publish_asks_nothing() -> None:
    redis = FakeRedis()
    assert redis_publisher(redis).publish([]) == 0
    assert redis.calls == []


def test_short_failure_is_retried(naps: list[float]) -> None:
    assert redis_publisher(FakeRedis(failures=2)).publish([(result("a"), None)]) == 1
    assert len(naps) == 2


def test_lasting_failure_is_retryable_and_shows_no_secret() -> None:
    with pytest.raises(TopicError) as caught:
        redis_publisher(FakeRedis(failures=99)).publish([(result("a"), None)])
    assert caught.value.retryable
    assert "hunter2" not in str(caught.value)
    assert "ConnectionError" in str(caught.value)


def test_dead_letter_goes_to_its_stream() -> None:
    redis = FakeRedis()
    redis_publisher(redis).bury(letter('{"a": 1}'))
    [([stream, key], [*_, told])] = redis.calls
    assert stream == "firewall:dead"
    event = json.loads(told)
    assert event["type"] == "alknet.firewall.dead_letter.v1"
    assert event["id"].startswith("t:not_a_job:")
    assert key == DEDUPE_PREFIX + event["id"]
    assert event["source"] == "/alknet-firewall/dead"
    assert event["data"]["payload"] == '{"a": 1}'


def test_a_letter_is_known_by_its_job_its_reason_and_its_payload() -> None:
    same = letter_id(letter("1").model_copy(update={"attempts": 5}))
    assert letter_id(letter("1")) == same
    assert letter_id(letter("2")) != same


def test_memory_keeps_a_letter_once_and_remembers_fingerprints() -> None:
    topic = InMemoryPublisher()
    topic.bury(letter("1"))
    topic.bury(letter("1").model_copy(update={"attempts": 5}))
    topic.publish([(result("a"), None)], ["x"])
    topic.publish([(result("a"), None)], ["y"])
    assert len(topic.dead) == 1
    assert topic.contents(["a", "b"]) == ["x", ""]


def test_a_drift_goes_to_its_stream_which_is_bounded() -> None:
    redis = FakeRedis()
    redis_publisher(redis).report(drift())
    [([stream], [maxlen, fields])] = redis.calls
    assert (stream, maxlen) == ("firewall:drift", publisher_module.DRIFT_MAXLEN)
    event = json.loads(fields["event"])
    assert (event["type"], event["source"]) == ("alknet.firewall.drift.v1", "/alknet-firewall/drift")
    assert (event["subject"], event["data"]["counts"]) == ("default", [4, 0])


def test_a_drift_is_tried_once_and_shows_no_secret(naps: list[float]) -> None:
    with pytest.raises(TopicError) as caught:
        redis_publisher(FakeRedis(failures=1)).report(drift())
    assert naps == []
    assert "hunter2" not in str(caught.value)


def test_memory_keeps_drifts() -> None:
    topic = InMemoryPublisher()
    topic.report(drift())
    assert topic.drifts == [drift()]
