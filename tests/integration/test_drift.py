"""A worker whose traffic is not what its codebook was calibrated on says so, once, and goes on."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from redis import Redis

from schemas import Drift, DriftEvent
from tests.integration.chaos.fleet import Fleet
from tests.integration.chaos.ledger import Ledger
from tests.integration.support import clean_environment
from worker.errors import TopicError
from worker.topic import publisher as publisher_module
from worker.topic.publisher import RedisPublisher, TopicLimits

pytestmark = pytest.mark.integration

STREAM = "firewall:drift"
TEXTS = 150
MARKER = "meeting today"


def drift(texts: int = 5000) -> Drift:
    return Drift(
        codebook="c0de",
        policy="default",
        worker="host:1",
        direction="larger",
        distance=0.2,
        tolerated=0.05,
        windows=3,
        texts=texts,
        flagged=0,
        above=0.01,
        counts=[texts],
        remedy="recalibrate",
    )


def events(redis: Redis) -> list[DriftEvent]:
    return [DriftEvent.model_validate_json(fields["event"]) for _, fields in redis.xrange(STREAM)]


def test_a_drift_is_on_its_stream_with_an_id_of_its_own(own_redis: Redis) -> None:
    publisher = RedisPublisher(own_redis, TopicLimits())
    publisher.report(drift())
    publisher.report(drift())
    first, second = events(own_redis)
    assert first.data == second.data == drift()
    assert first.id != second.id
    assert not own_redis.exists("firewall:results", "firewall:alarms")


def test_the_stream_is_bounded_and_keeps_the_newest(own_redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publisher_module, "DRIFT_MAXLEN", 50)
    publisher = RedisPublisher(own_redis, TopicLimits())
    for texts in range(1, 401):
        publisher.report(drift(texts))
    assert 50 <= own_redis.xlen(STREAM) <= 200
    assert events(own_redis)[-1].data.texts == 400


def test_a_redis_that_does_not_take_it_is_our_error(own_redis: Redis) -> None:
    own_redis.set(STREAM, "not a stream")
    with pytest.raises(TopicError, match="drift"):
        RedisPublisher(own_redis, TopicLimits()).report(drift())


@pytest.fixture
def drifting() -> dict[str, str]:
    """Settings under which a few hundred copies of one text are a drift: their one p-value is not uniform."""
    return {"FIREWALL_DRIFT_TEXTS": str(TEXTS)}


def test_a_worker_tells_of_a_drift_once(
    own_url: str, own_redis: Redis, tmp_path: Path, drifting: dict[str, str]
) -> None:
    ledger = Ledger(own_url)
    with Fleet(own_url, tmp_path, **drifting) as fleet:
        member = fleet.started()
        for _ in range(4):
            ledger.send([MARKER] * 256)
        assert ledger.settle(60).kept
        (state,) = ledger.control("drift")[0].values()
        log = member.log.read_text()
    [event] = events(own_redis)
    assert (event.subject, event.data.codebook, event.data.direction) == ("default", "chaos", "smaller")
    assert (event.data.texts, sum(event.data.counts), event.data.flagged) == (TEXTS, TEXTS, 0)
    assert state["default"]["drifted"]
    assert state["default"]["counted"] == 4 * 256 % TEXTS
    assert log.count("drift policy=default") == 1
    assert MARKER not in log
    assert MARKER not in event.model_dump_json()
    watched = subprocess.run(
        [sys.executable, "-m", "tasks", "watch", "--drift", "--from-start", "--json", "--count", "1"],
        env=clean_environment(REDIS_URL=own_url),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert json.loads(watched.stdout)["id"] == event.id, watched.stderr


def test_jobs_do_not_suffer_when_the_drift_cannot_be_told(
    own_url: str, own_redis: Redis, tmp_path: Path, drifting: dict[str, str]
) -> None:
    own_redis.set(STREAM, "not a stream")
    ledger = Ledger(own_url)
    with Fleet(own_url, tmp_path, **drifting) as fleet:
        member = fleet.started()
        for _ in range(4):
            ledger.send([MARKER] * 256)
        count = ledger.settle(60)
        log = member.log.read_text()
    assert count.kept
    assert (count.results, count.dead_lettered) == (1024, 0)
    assert "drift not published" in log
    assert "job goes back" not in log


def test_none_is_looked_for_if_so_set(own_url: str, own_redis: Redis, tmp_path: Path) -> None:
    ledger = Ledger(own_url)
    with Fleet(own_url, tmp_path, FIREWALL_DRIFT_TEXTS="0") as fleet:
        fleet.started()
        for _ in range(4):
            ledger.send([MARKER] * 256)
        assert ledger.settle(60).kept
        assert list(ledger.control("drift")[0].values()) == [{}]
    assert not own_redis.exists(STREAM)
