"""Consumer groups that do not keep up with the result topic."""

import logging
import urllib.request
from pathlib import Path

import pytest
from redis import Redis

from tests.integration.chaos.fleet import Fleet
from tests.integration.chaos.ledger import Ledger
from tests.integration.support import eventually
from worker.settings import Settings, load_settings
from worker.topic.lag import LagWatch, group_lags
from worker.topic.reader import read_group
from worker.topic.server import free_port

pytestmark = pytest.mark.integration

STREAM = "firewall:results"
MAXLEN = 200


@pytest.fixture
def own_url(every_url: str) -> str:
    return every_url


@pytest.fixture
def settings(own_url: str) -> Settings:
    return load_settings(redis_url=own_url, results_maxlen=MAXLEN, alarms_maxlen=MAXLEN)


def add(redis: Redis, count: int) -> None:
    for _ in range(count):
        redis.xadd(STREAM, {"event": "{}"}, maxlen=MAXLEN, approximate=False)


def read(redis: Redis, group: str, count: int) -> None:
    for _ in read_group(redis, STREAM, group, "member", count=count):
        pass


def test_without_a_topic_or_groups_there_is_no_lag(own_redis: Redis, settings: Settings) -> None:
    assert group_lags(own_redis, settings) == []
    add(own_redis, 3)
    assert group_lags(own_redis, settings) == []


def test_lag_and_pending_are_counted(own_redis: Redis, settings: Settings) -> None:
    add(own_redis, 50)
    read(own_redis, "soc", 20)
    next(read_group(own_redis, STREAM, "slow", "member"))
    by_group = {lag.group: lag for lag in group_lags(own_redis, settings)}
    assert by_group["soc"].pending == 0
    # A member asks for more than it has handled.
    assert by_group["slow"].pending > 0
    assert by_group["soc"].lag + 20 <= 50
    assert not by_group["soc"].missed
    assert not by_group["slow"].missed


def test_a_group_that_was_outrun_is_told_once_and_again_after_it_has_caught_up(
    own_redis: Redis, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    watch = LagWatch(own_redis, settings)

    def told() -> int:
        watch.look()
        return sum("topic_entries_missed" in record.getMessage() for record in caplog.records)

    add(own_redis, 10)
    read(own_redis, "soc", 10)
    add(own_redis, MAXLEN - 1)
    assert told() == 0, "all of it can still be read"
    add(own_redis, 2)
    assert told() == 1
    assert told() == 1
    read(own_redis, "soc", MAXLEN)
    assert told() == 1
    add(own_redis, MAXLEN + 1)
    assert told() == 2
    assert caplog.records[-1].levelno == logging.ERROR
    assert "group=soc" in caplog.records[-1].getMessage()


def test_without_redis_the_watch_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    settings = load_settings(redis_url="redis://127.0.0.1:1/0")
    with Redis(port=1) as nobody:
        LagWatch(nobody, settings).look()
    assert "unknown: ConnectionError" in caplog.text


def test_a_worker_bounds_the_streams_and_tells_who_was_outrun(own_url: str, own_redis: Redis, tmp_path: Path) -> None:
    ledger, port = Ledger(own_url), free_port()
    own_redis.xgroup_create(STREAM, "absent", id="0", mkstream=True)
    settings = {"FIREWALL_RESULTS_MAXLEN": "50", "FIREWALL_METRICS_PORT": str(port), "CHAOS_LAG_LOOK_S": "0.2"}
    with Fleet(own_url, tmp_path, **settings) as fleet:
        member = fleet.started()
        for _ in range(150):
            ledger.send()
        eventually(lambda: "topic_entries_missed stream=firewall:results group=absent" in member.log.read_text(), "it")
        eventually(ledger.idle, "the jobs")
        replies = ledger.control("topic_lag")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as response:
            metrics = response.read().decode()
    (lags,) = replies[0].values()
    assert [(lag["group"], lag["missed"]) for lag in lags] == [("absent", True)]
    assert 'firewall_topic_missed{group="absent",stream="firewall:results"} 1.0' in metrics
    assert 'firewall_topic_lag{group="absent",stream="firewall:results"}' in metrics
    assert own_redis.xlen(STREAM) < 250
