"""Leases: what is held is renewed, and nothing else."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from tasks import leases as leases_module
from tasks.broker.scripts import LEASES
from tasks.leases import Leases
from worker.settings import Settings

REDIS_CLOCK = 1234


class FakeRedis:
    """Records renewals; the first may fail."""

    def __init__(self) -> None:
        self.renewed: list[tuple[str, dict[str, float], dict[str, Any]]] = []
        self.failures = 0
        self.asked = threading.Event()

    def time(self) -> tuple[int, int]:
        return REDIS_CLOCK, 999_999

    def zadd(self, key: str, mapping: dict[str, float], **options: Any) -> None:
        self.asked.set()
        if self.failures:
            self.failures -= 1
            raise RedisConnectionError("password=hunter2")
        self.renewed.append((key, mapping, options))


@pytest.fixture
def redis(monkeypatch: pytest.MonkeyPatch) -> FakeRedis:
    fake = FakeRedis()
    monkeypatch.setattr(leases_module, "connect", lambda _settings: fake)
    return fake


@pytest.fixture
def held(redis: FakeRedis) -> Iterator[Leases]:
    made = Leases()
    yield made
    made.stop()


def often() -> Settings:
    return Settings.model_construct(visibility_timeout_s=0.03)


def wait_for(redis: FakeRedis, renewals: int) -> None:
    deadline = time.monotonic() + 5
    while len(redis.renewed) < renewals:
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_what_is_held_is_renewed_and_never_made_anew(redis: FakeRedis, held: Leases) -> None:
    held.hold("a")
    held.hold("b")
    held.release("b")
    held.start(often())
    wait_for(redis, 2)
    for key, mapping, options in list(redis.renewed):
        assert key == LEASES
        assert mapping == {"a": REDIS_CLOCK}
        assert options == {"xx": True}


def test_nothing_is_asked_of_redis_while_nothing_is_held(redis: FakeRedis, held: Leases) -> None:
    held.start(often())
    assert not redis.asked.wait(0.1)


def test_a_failure_is_told_without_secrets_and_tried_again(
    redis: FakeRedis, held: Leases, caplog: pytest.LogCaptureFixture
) -> None:
    redis.failures = 1
    held.hold("a")
    held.start(often())
    wait_for(redis, 1)
    assert "ConnectionError" in caplog.text
    assert "hunter2" not in caplog.text


def test_the_end_ends_it(redis: FakeRedis, held: Leases) -> None:
    held.hold("a")
    held.start(often())
    held.stop()
    count = len(redis.renewed)
    time.sleep(0.05)
    assert len(redis.renewed) == count


def test_an_end_before_the_start_and_an_unknown_tag_are_harmless(held: Leases) -> None:
    held.release("never held")
    held.stop()
