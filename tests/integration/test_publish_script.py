import json
from pathlib import Path

import pytest
from redis import Redis

from schemas.alarm import Alarm
from schemas.dead_letter import DeadLetter
from schemas.result import ErrorInfo, ItemResult, result_id
from schemas.signal import SignalScore
from worker.errors import TopicError
from worker.screening.jobs import payload_text
from worker.settings import load_settings
from worker.topic import publisher as publisher_module
from worker.topic.connection import connect
from worker.topic.publisher import CHUNK, DEDUPE_PREFIX, RedisPublisher, TopicLimits
from worker.topic.server import running_redis

Outcome = tuple[ItemResult, Alarm | None]


def clean(item_id: str) -> Outcome:
    return _result(item_id, verdict="clean"), None


def flagged(item_id: str) -> Outcome:
    result = _result(item_id, verdict="flagged", severity="critical", p_value=1e-6, codebook="c0ffee")
    signal = SignalScore(signal="jailbreak", score=7.0, p_value=1e-6)
    alarm = Alarm(
        alarm_id=result.result_id,
        job_id=result.job_id,
        item_id=item_id,
        severity="critical",
        signal="jailbreak",
        p_value=1e-6,
        signals=[signal],
        evidence=[],
        policy="default",
        codebook="c0ffee",
    )
    return result, alarm


def _result(item_id: str, **fields: object) -> ItemResult:
    identity = {"result_id": result_id("job", item_id, 0), "job_id": "job", "item_id": item_id}
    return ItemResult.model_validate({**identity, "item_index": 0, "status": "screened", **fields})


def event_ids(redis: Redis, stream: str) -> list[str]:
    return [json.loads(fields["event"])["id"] for _, fields in redis.xrange(stream)]


@pytest.fixture
def own_url(every_url: str) -> str:
    return every_url


@pytest.fixture
def publisher(own_redis: Redis, monkeypatch: pytest.MonkeyPatch) -> RedisPublisher:
    monkeypatch.setattr(publisher_module, "RETRY_DELAYS_S", (0.0,))
    return RedisPublisher(own_redis, TopicLimits())


def test_a_result_and_its_alarm_are_published_with_the_same_id(publisher: RedisPublisher, own_redis: Redis) -> None:
    result, alarm = flagged("a")
    assert publisher.publish([(result, alarm)]) == 1
    assert event_ids(own_redis, "firewall:results") == [result.result_id]
    assert event_ids(own_redis, "firewall:alarms") == [result.result_id]


def test_a_second_publication_is_refused(publisher: RedisPublisher, own_redis: Redis) -> None:
    outcomes = [flagged("a"), clean("b")]
    assert publisher.publish(outcomes) == 2
    assert publisher.publish(outcomes) == 0
    assert own_redis.xlen("firewall:results") == 2
    assert own_redis.xlen("firewall:alarms") == 1


def test_of_a_partly_published_job_only_the_rest_is_published(publisher: RedisPublisher, own_redis: Redis) -> None:
    publisher.publish([flagged("a"), clean("b")])
    assert publisher.publish([flagged("a"), flagged("c"), clean("b"), clean("d")]) == 2
    published = event_ids(own_redis, "firewall:results")
    assert published == [result_id("job", name, 0) for name in ("a", "b", "c", "d")]
    assert event_ids(own_redis, "firewall:alarms") == [result_id("job", name, 0) for name in ("a", "c")]


def test_a_job_larger_than_one_script_call_is_published_whole(publisher: RedisPublisher, own_redis: Redis) -> None:
    outcomes = [clean(f"i{n}") for n in range(2 * CHUNK + 1)]
    assert publisher.publish(outcomes) == len(outcomes)
    assert own_redis.xlen("firewall:results") == len(outcomes)


def test_streams_are_bounded(own_redis: Redis) -> None:
    limits = TopicLimits(results_maxlen=50, alarms_maxlen=50, dead_maxlen=50)
    publisher = RedisPublisher(own_redis, limits)
    publisher.publish([flagged(f"i{n}") for n in range(600)])
    error = ErrorInfo(code="not_a_job", message="-", retryable=False)
    for n in range(300):
        letter = DeadLetter(task_id=str(n), queue="screening", attempts=1, error=error, payload="null")
        publisher.bury(letter)
    # "~" trims whole nodes, of a hundred entries by default.
    for stream in ("firewall:results", "firewall:alarms", "firewall:dead"):
        assert 50 <= own_redis.xlen(stream) <= 200


def test_the_newest_entries_survive_trimming(own_redis: Redis) -> None:
    RedisPublisher(own_redis, TopicLimits(results_maxlen=10)).publish([clean(f"i{n}") for n in range(400)])
    assert event_ids(own_redis, "firewall:results")[-1] == result_id("job", "i399", 0)


def test_a_result_id_is_remembered_for_the_chosen_time(own_redis: Redis) -> None:
    RedisPublisher(own_redis, TopicLimits(dedupe_ttl_s=1234)).publish([clean("a")])
    assert 1200 < own_redis.ttl(DEDUPE_PREFIX + result_id("job", "a", 0)) <= 1234


def test_no_alarm_appears_when_the_result_cannot_be_written(publisher: RedisPublisher, own_redis: Redis) -> None:
    own_redis.set("firewall:results", "not a stream")
    with pytest.raises(TopicError):
        publisher.publish([flagged("a")])
    assert own_redis.xlen("firewall:alarms") == 0


def test_an_alarm_that_could_not_be_written_is_published_by_the_next_delivery(
    publisher: RedisPublisher, own_redis: Redis
) -> None:
    own_redis.set("firewall:alarms", "not a stream")
    with pytest.raises(TopicError):
        publisher.publish([flagged("a")])
    own_redis.delete("firewall:alarms")
    publisher.publish([flagged("a")])
    assert event_ids(own_redis, "firewall:alarms") == [result_id("job", "a", 0)]


def test_a_redis_without_memory_is_a_retryable_error_and_nothing_is_half_written(
    redis_binary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher_module, "RETRY_DELAYS_S", (0.0,))
    with running_redis(binary=redis_binary) as url, Redis.from_url(url, decode_responses=True) as redis:
        publisher = RedisPublisher(redis, TopicLimits())
        redis.config_set("maxmemory", "1")
        with pytest.raises(TopicError) as raised:
            publisher.publish([flagged("a")])
        assert raised.value.retryable
        redis.config_set("maxmemory", "0")
        assert redis.keys("firewall:*") == []
        assert publisher.publish([flagged("a")]) == 1


def test_a_redis_that_is_gone_is_a_retryable_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publisher_module, "RETRY_DELAYS_S", (0.0,))
    with running_redis() as url:
        client = connect(load_settings(redis_url=url))
        publisher = RedisPublisher(client, TopicLimits())
        publisher.publish([clean("a")])
    with client, pytest.raises(TopicError) as raised:
        publisher.publish([clean("b")])
    assert raised.value.retryable
    assert raised.value.code == "publish_failed"


def test_a_dead_letter_with_a_lone_surrogate_can_be_kept(publisher: RedisPublisher, own_redis: Redis) -> None:
    error = ErrorInfo(code="not_a_job", message="-", retryable=False)
    payload = payload_text({"\ud83d": ["\udc00 alone"]})
    publisher.bury(DeadLetter(task_id="t", queue="screening", attempts=1, error=error, payload=payload))
    [(_, fields)] = own_redis.xrange("firewall:dead")
    assert json.loads(fields["event"])["data"]["payload"] == payload
