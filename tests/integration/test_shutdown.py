"""A worker that ends, by order or by accident, loses no job and doubles none."""

import signal
from pathlib import Path

import pytest

from tests.integration.support import (
    UNACKED,
    WORKER_START_S,
    Producer,
    Topic,
    by_item,
    eventually,
    ready,
)

pytestmark = pytest.mark.integration

FEW = ("--concurrency", "4")
"""So that most jobs are still queued when the worker ends."""

DOCUMENT = "The treasurer read the water meter, and the committee thanked the hedge volunteers. " * 6


def send_jobs(producer: Producer, count: int) -> list[str]:
    return [producer.send(*(f"{n}.{row} {DOCUMENT}" for row in range(3))).job_id for n in range(count)]


def wait_until_under_way(topic: Topic, jobs: list[str]) -> None:
    eventually(lambda: topic.redis.xlen("firewall:results"), "the first results")
    assert topic.redis.xlen("firewall:results") < 3 * len(jobs), "all was done before the worker could be ended"


def assert_each_once(topic: Topic, jobs: list[str]) -> None:
    for job_id in jobs:
        assert sorted(by_item(topic.results(job_id, 3, timeout=60))) == ["i0", "i1", "i2"]
    assert topic.redis.xlen("firewall:results") == 3 * len(jobs)
    assert topic.redis.xlen("firewall:dead") == 0


def test_sigterm_finishes_or_hands_back_what_is_in_hand(
    own_url: str, own_topic: Topic, own_producer: Producer, logs: Path
) -> None:
    jobs = send_jobs(own_producer, 60)
    with ready(own_url, logs, *FEW) as first:
        wait_until_under_way(own_topic, jobs)
        assert first.stop(signal.SIGTERM) == 0, first.log
        assert own_topic.redis.hlen(UNACKED) == 0, "nothing waits for a time-out"
        assert "Traceback" not in first.log
    with ready(own_url, logs):
        assert_each_once(own_topic, jobs)


def test_jobs_of_a_killed_worker_come_back_and_are_published_once(
    own_url: str, own_topic: Topic, own_producer: Producer, logs: Path
) -> None:
    patience = {"FIREWALL_VISIBILITY_TIMEOUT_S": "5"}
    jobs = send_jobs(own_producer, 60)
    with ready(own_url, logs, *FEW, environment=patience) as first:
        wait_until_under_way(own_topic, jobs)
        assert first.stop(signal.SIGKILL) == -signal.SIGKILL
    assert own_topic.redis.hlen(UNACKED), "some jobs were in its hands"
    with ready(own_url, logs, environment=patience):
        eventually(own_topic.idle, "the jobs to come back", WORKER_START_S)
        assert_each_once(own_topic, jobs)
