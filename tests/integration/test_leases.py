"""A job in the hands of a live worker is not given to another, however short the visibility timeout."""

import time
from pathlib import Path

import pytest
from redis import Redis

from tasks.broker.scripts import LEASES
from tasks.leases import Leases
from tests.integration.support import Producer, Topic, by_item, eventually, ready
from worker.settings import load_settings

pytestmark = pytest.mark.integration

SHORT_S = 5
N_DOCUMENTS = 160  # 25 seconds of two slow cores: five times as fast a machine still takes longer than SHORT_S
DOCUMENT = "The treasurer read the water meter, and the committee thanked the hedge volunteers. " * 60


def test_only_what_is_held_and_still_unacknowledged_is_renewed(own_url: str, own_redis: Redis) -> None:
    own_redis.zadd(LEASES, {"held": 1.0, "released": 2.0, "another's": 3.0})
    leases = Leases()
    for tag in ("held", "released", "restored meanwhile"):
        leases.hold(tag)
    leases.release("released")
    leases.start(load_settings(redis_url=own_url, visibility_timeout_s=SHORT_S))
    try:
        eventually(lambda: own_redis.zscore(LEASES, "held") != 1.0, "the renewal", SHORT_S)
    finally:
        leases.stop()
    renewed = own_redis.zscore(LEASES, "held")
    assert abs(renewed - time.time()) < SHORT_S
    assert own_redis.zrange(LEASES, 0, -1, withscores=True) == [
        ("released", 2.0),
        ("another's", 3.0),
        ("held", renewed),
    ]


def test_a_job_longer_than_the_timeout_is_started_and_published_once(
    own_url: str, own_topic: Topic, own_producer: Producer, logs: Path
) -> None:
    patience = {"FIREWALL_VISIBILITY_TIMEOUT_S": str(SHORT_S)}
    with ready(own_url, logs, environment=patience) as worker:
        sent = own_producer.send(*(f"{n}. {DOCUMENT}" for n in range(N_DOCUMENTS)), queue="screening.bulk")
        scores: set[float] = set()

        def renewed_often_or_done() -> bool:
            scores.update(score for _, score in own_topic.redis.zrange(LEASES, 0, -1, withscores=True))
            return f"job done task={sent.id}" in worker.log

        eventually(renewed_often_or_done, "the job", 300)
        assert len(by_item(own_topic.results(sent.job_id, N_DOCUMENTS))) == N_DOCUMENTS
        assert max(scores) - min(scores) > SHORT_S, "the job was over too soon to show anything"
        done = [line for line in worker.log.splitlines() if sent.id in line and "job done" in line]
        assert len(done) == 1
        assert " attempt=1 " in done[0]
        assert f" published={N_DOCUMENTS} " in done[0]
