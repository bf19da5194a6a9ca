"""Real webhooks workers and real receivers: alarms arrive signed, each one, whatever happens in between."""

import signal
from collections import Counter
from pathlib import Path

import pytest
from redis import Redis

from tests.integration.support import QUEUES, clean_environment, eventually, ready, started
from tests.integration.test_publish_script import flagged
from tests.integration.webhook_support import NO_TORCH, Receiver, add, environment, receiving, run
from worker.topic.publisher import RedisPublisher, TopicLimits

pytestmark = pytest.mark.integration

WEBHOOKS = ("--queue", "webhooks", "--concurrency", "16")
IMPATIENT = {"FIREWALL_WEBHOOK_TIMEOUT_S": "1"}
"""A lease is five seconds longer than this."""


def publish(redis: Redis, *names: str) -> list[str]:
    outcomes = [flagged(name) for name in names]
    RedisPublisher(redis, TopicLimits()).publish(outcomes)
    return [result.result_id for result, _ in outcomes]


def test_an_alarm_arrives_verified_with_no_torch_to_import(own_url: str, own_redis: Redis, logs: Path) -> None:
    with receiving(logs) as receiver, ready(own_url, logs, *WEBHOOKS, environment=environment()) as worker:
        add(own_url, receiver, "soc")
        published = publish(own_redis, "a", "b")
        eventually(lambda: len(receiver.alarms()) >= 2, "both alarms")
        assert sorted(receiver.alarms()) == sorted(published)
        assert all(entry["verified"] for entry in receiver.entries())
        assert worker.stop() == 0, worker.log
        assert "Traceback" not in worker.log
        assert not worker.health.exists()
    assert str(NO_TORCH) in clean_environment(**environment())["PYTHONPATH"]


def test_secrets_and_paths_of_urls_are_not_logged(own_url: str, own_redis: Redis, logs: Path) -> None:
    strict = environment(FIREWALL_LOG_LEVEL="DEBUG", **IMPATIENT)
    with receiving(logs) as receiver, ready(own_url, logs, *WEBHOOKS, environment=strict) as worker:
        receiver.url += "?token=XQZTOKEN"
        add(own_url, receiver, "soc")
        add(own_url, Receiver("http://127.0.0.1:9/XQZPATH", logs / "none", logs / "none"), "dead")
        publish(own_redis, "a")
        eventually(receiver.alarms, "the alarm")
        eventually(lambda: "connection refused" in worker.log and "endpoint=soc" in worker.log, "both in the log")
        secret = receiver.secret_file.read_text(encoding="utf-8")
        assert not [word for word in ("XQZ", "whsec_", secret) if word in worker.log]


def test_a_busy_receiver_gets_everything_once_it_has_time(own_url: str, own_redis: Redis, logs: Path) -> None:
    with receiving(logs, "busy:1") as receiver, ready(own_url, logs, *WEBHOOKS, environment=environment()):
        add(own_url, receiver, "soc")
        published = publish(own_redis, "a")
        eventually(receiver.alarms, "the alarm after 429 and Retry-After")
        assert receiver.alarms() == published
    assert '"codes": "429, 204"' in run(own_url, "deliveries", "--json").stdout


def test_dead_and_slow_endpoints_do_not_delay_the_others(own_url: str, own_redis: Redis, logs: Path) -> None:
    with (
        receiving(logs) as healthy,
        receiving(logs, "hang") as hanging,
        receiving(logs, "status:503") as failing,
        receiving(logs, "slow:0.3") as slow,
        ready(own_url, logs, "--queue", "webhooks", "-c", "8", environment=environment(**IMPATIENT)),
    ):
        for number in range(3):
            add(own_url, hanging, f"hanging{number}")
            add(own_url, failing, f"failing{number}")
        add(own_url, slow, "slow")
        add(own_url, healthy, "healthy")
        published = publish(own_redis, *(f"i{n}" for n in range(100)))
        eventually(lambda: len(set(healthy.alarms())) >= 100, "the healthy endpoint's alarms")
        assert sorted(healthy.alarms()) == sorted(published)
        waiting = int(own_redis.zcard("firewall:webhooks:due:slow")) + int(
            own_redis.zcard("firewall:webhooks:leases:slow")
        )
        assert waiting > 0, "the slow one is still at it"


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "terminated"])
def test_nothing_is_lost_when_the_worker_ends_in_the_middle(
    own_url: str, own_redis: Redis, logs: Path, end: signal.Signals
) -> None:
    """A slow receiver makes it likely that requests are under way at the moment."""
    settings = environment(**IMPATIENT)
    with receiving(logs, "slow:0.05") as receiver:
        add(own_url, receiver, "soc")
        published = publish(own_redis, *(f"i{n}" for n in range(150)))
        for _ in range(2):
            before = len(receiver.entries())
            with ready(own_url, logs, *WEBHOOKS, environment=settings) as worker:
                eventually(lambda before=before: len(receiver.entries()) > before + 20, "some deliveries")
                worker.stop(end)
            if end is signal.SIGTERM:
                assert own_redis.zcard("firewall:webhooks:leases:soc") == 0, "all requests were recorded"
            assert own_redis.zcard("firewall:webhooks:due:soc") > 0, "all was done before the worker could be ended"
        with ready(own_url, logs, *WEBHOOKS, environment=settings):
            eventually(lambda: set(receiver.alarms()) >= set(published), "every alarm")
            eventually(lambda: not own_redis.keys("firewall:webhooks:message:*"), "nothing waits")
    ids = Counter(entry["id"] for entry in receiver.entries())
    assert len(ids) == 150, "every repetition has the id of the first"
    if end is signal.SIGTERM:
        assert set(ids.values()) == {1}
    assert all(entry["verified"] for entry in receiver.entries())


def test_a_worker_killed_between_request_and_record_sends_the_same_id_again(
    own_url: str, own_redis: Redis, logs: Path
) -> None:
    """The receiver has written its line and not yet answered when the worker is killed."""
    with receiving(logs, "slow:0") as receiver:
        add(own_url, receiver, "soc")
        with ready(own_url, logs, *WEBHOOKS, environment=environment(**IMPATIENT)) as worker:
            # The record cannot be written, so that the kill falls before it.
            own_redis.set("firewall:webhooks:recent:soc", "of another type")
            (published,) = publish(own_redis, "a")
            eventually(receiver.alarms, "the request")
            worker.stop(signal.SIGKILL)
        own_redis.delete("firewall:webhooks:recent:soc")
        with ready(own_url, logs, *WEBHOOKS, environment=environment(**IMPATIENT)):
            eventually(lambda: len(receiver.entries()) >= 2, "the second request")
        first, *others = receiver.entries()
        assert {entry["id"] for entry in others} == {first["id"]}
        assert {alarm for entry in receiver.entries() for alarm in entry["alarms"]} == {published}


def test_endpoints_of_a_file_are_there_when_the_worker_is_ready(own_url: str, own_redis: Redis, logs: Path) -> None:
    with receiving(logs) as receiver:
        receiver.secret_file.write_text("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", encoding="utf-8")
        declared = logs / "endpoints.toml"
        declared.write_text(
            f'[[endpoint]]\nid = "soc"\nurl = "{receiver.url}"\nmin_severity = "critical"\n'
            f'secret_file = "{receiver.secret_file.name}"\n',
            encoding="utf-8",
        )
        settings = environment(FIREWALL_WEBHOOKS_FILE=str(declared))
        with ready(own_url, logs, *WEBHOOKS, environment=settings):
            publish(own_redis, "a")
            eventually(receiver.alarms, "the alarm")
        assert receiver.entries()[0]["verified"]
        with ready(own_url, logs, *WEBHOOKS, environment=settings):
            publish(own_redis, "b")
            eventually(lambda: len(receiver.alarms()) == 2, "the second start changes no secret")
        assert receiver.entries()[1]["verified"]


@pytest.mark.parametrize(
    ("variables", "arguments", "code"),
    [
        ({"FIREWALL_WEBHOOK_ALLOW": '["http://a"]'}, WEBHOOKS, "invalid_settings"),
        ({"FIREWALL_WEBHOOKS_FILE": "/none.toml"}, WEBHOOKS, "invalid_endpoint"),
        ({}, ("--queue", "webhooks", "--queue", "screening"), "invalid_settings"),
    ],
    ids=["allow-list", "file", "queues"],
)
def test_a_worker_that_cannot_deliver_does_not_start(
    own_url: str, logs: Path, variables: dict[str, str], arguments: tuple[str, ...], code: str
) -> None:
    with started(own_url, logs, *arguments, environment=environment(**variables)) as worker:
        assert worker.process.wait(60) == 78, worker.log
        assert code in worker.log
        assert "Traceback" not in worker.log


def test_jobs_for_the_model_are_left_alone(own_url: str, own_topic, own_producer, logs: Path) -> None:
    own_producer.send("How are you?")
    with ready(own_url, logs, *WEBHOOKS, environment=environment()) as worker:
        assert worker.stop() == 0
    assert sum(int(own_topic.redis.llen(queue)) for queue in QUEUES) == 1


def test_metrics_are_served(own_url: str, own_redis: Redis, logs: Path) -> None:
    import urllib.request

    from worker.topic.server import free_port

    port = free_port()
    settings = environment(FIREWALL_METRICS_PORT=str(port))
    with receiving(logs) as receiver, ready(own_url, logs, *WEBHOOKS, environment=settings):
        add(own_url, receiver, "soc")
        publish(own_redis, "a")
        eventually(receiver.alarms, "the alarm")
        eventually(lambda: not own_redis.keys("firewall:webhooks:message:*"), "the record")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as response:
            told = response.read().decode()
    assert 'firewall_webhook_attempts_total{endpoint="soc"} 1.0' in told
    assert 'firewall_webhook_seconds_count{endpoint="soc"} 1.0' in told
    assert 'firewall_webhook_disabled{endpoint="soc"} 0.0' in told
