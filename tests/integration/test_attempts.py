import os
from datetime import datetime

import pytest
from redis import Redis

from worker.errors import TopicError
from worker.settings import load_settings
from worker.topic.attempts import ATTEMPTS_PREFIX, Attempt, RedisAttempts
from worker.topic.connection import connect
from worker.topic.server import running_redis


@pytest.fixture
def own_url(every_url: str) -> str:
    return every_url


@pytest.fixture
def attempts(own_redis: Redis) -> RedisAttempts:
    return RedisAttempts(own_redis, ttl_s=600)


def test_starts_are_counted_by_task(attempts: RedisAttempts) -> None:
    assert [attempts.start(name, again=True).number for name in "aab"] == [1, 2, 1]


def test_a_start_after_one_that_came_to_no_end_is_not_noted_unasked(attempts: RedisAttempts) -> None:
    first = attempts.start("a")
    second = attempts.start("a")
    assert (first.noted, second.noted) == (True, False)
    assert first.starts == second.starts
    third = attempts.start("a", again=True)
    assert (third.noted, third.number) == (True, 2)
    assert third.starts[0] == first.starts[0]
    assert third.starts[0].worker.endswith(f":{os.getpid()}")
    assert datetime.fromisoformat(third.starts[0].time).tzinfo is not None


def test_a_finished_task_starts_anew(attempts: RedisAttempts, own_redis: Redis) -> None:
    attempts.start("a")
    attempts.finish("a")
    assert not own_redis.exists(ATTEMPTS_PREFIX + "a")
    assert attempts.start("a").number == 1


def test_a_refunded_start_does_not_count(attempts: RedisAttempts) -> None:
    attempts.start("a")
    attempts.refund("a", attempts.start("a", again=True))
    assert attempts.start("a", again=True).number == 2


def test_a_count_nobody_finishes_is_forgotten(attempts: RedisAttempts, own_redis: Redis) -> None:
    attempts.start("a")
    assert 590 < own_redis.ttl(ATTEMPTS_PREFIX + "a") <= 600


def test_a_refunded_start_that_was_the_only_one_leaves_nothing(attempts: RedisAttempts, own_redis: Redis) -> None:
    attempts.refund("a", attempts.start("a"))
    assert not own_redis.exists(ATTEMPTS_PREFIX + "a")
    attempts.refund("a", Attempt((), noted=True, key="long forgotten"))
    assert not own_redis.exists(ATTEMPTS_PREFIX + "a")


def test_without_redis_a_start_is_a_retryable_error_and_the_rest_is_best_effort() -> None:
    with running_redis() as url:
        client = connect(load_settings(redis_url=url))
        attempts = RedisAttempts(client, ttl_s=600)
        started = attempts.start("a")
    with client:
        with pytest.raises(TopicError) as raised:
            attempts.start("a")
        assert raised.value.retryable
        attempts.finish("a")
        attempts.refund("a", started)
