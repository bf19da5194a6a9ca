import pytest
from redis import Redis

from worker.errors import TopicError
from worker.settings import load_settings
from worker.topic.attempts import ATTEMPTS_PREFIX, RedisAttempts
from worker.topic.connection import connect
from worker.topic.server import running_redis


@pytest.fixture
def attempts(own_redis: Redis) -> RedisAttempts:
    return RedisAttempts(own_redis, ttl_s=600)


def test_starts_are_counted_by_task(attempts: RedisAttempts) -> None:
    assert [attempts.start("a"), attempts.start("a"), attempts.start("b")] == [1, 2, 1]


def test_a_finished_task_starts_anew(attempts: RedisAttempts, own_redis: Redis) -> None:
    attempts.start("a")
    attempts.finish("a")
    assert not own_redis.exists(ATTEMPTS_PREFIX + "a")
    assert attempts.start("a") == 1


def test_a_refunded_start_does_not_count(attempts: RedisAttempts) -> None:
    attempts.start("a")
    attempts.start("a")
    attempts.refund("a")
    assert attempts.start("a") == 2


def test_a_count_nobody_finishes_is_forgotten(attempts: RedisAttempts, own_redis: Redis) -> None:
    attempts.start("a")
    assert 590 < own_redis.ttl(ATTEMPTS_PREFIX + "a") <= 600


def test_a_refund_after_the_count_expired_leaves_nothing_for_ever(attempts: RedisAttempts, own_redis: Redis) -> None:
    attempts.refund("a")
    assert own_redis.ttl(ATTEMPTS_PREFIX + "a") != -1, "a key without a time to live"


def test_without_redis_a_start_is_a_retryable_error_and_the_rest_is_best_effort() -> None:
    with running_redis() as url:
        client = connect(load_settings(redis_url=url))
        attempts = RedisAttempts(client, ttl_s=600)
        attempts.start("a")
    with client:
        with pytest.raises(TopicError) as raised:
            attempts.start("a")
        assert raised.value.retryable
        attempts.finish("a")
        attempts.refund("a")
