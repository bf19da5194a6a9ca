"""The example receiver in examples/ takes what a webhooks worker sends, and nothing else."""

import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from tests.integration.support import eventually, ready
from tests.integration.test_publish_script import flagged
from tests.integration.webhook_support import environment
from worker.topic.publisher import RedisPublisher, TopicLimits
from worker.topic.server import free_port, running_redis
from worker.webhooks.endpoints import EndpointStore, endpoint_of

EXAMPLE = Path("examples/webhook_receiver.py")


@pytest.fixture
def redis() -> Iterator[Redis]:
    with running_redis() as url, Redis.from_url(url, decode_responses=True) as client:
        client.url = url
        yield client


def listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_the_example_receives_an_alarm_and_refuses_a_forged_one(redis: Redis, tmp_path: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}/alarms"
    secret = EndpointStore(redis).add(endpoint_of({"id": "soc", "url": url}))
    command = [sys.executable, "-m", "uvicorn", "webhook_receiver:app", "--port", str(port), "--log-level", "warning"]
    log = tmp_path / "receiver"
    with log.open("wb") as output:
        receiver = subprocess.Popen(
            command,
            cwd=EXAMPLE.parent,
            env={**os.environ, "WEBHOOK_SECRET": secret},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        eventually(lambda: listening(port) or receiver.poll() is not None, "the example")
        with ready(redis.url, tmp_path, "--queue", "webhooks", environment=environment()):
            RedisPublisher(redis, TopicLimits()).publish([flagged("mail")])
            eventually(lambda: b"critical jailbreak job mail" in log.read_bytes(), "the alarm in the example's output")
        forged = urllib.request.Request(url, b'{"type": "alknet.firewall.alarm.v1"}', {"webhook-signature": "v1,x"})
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(forged, timeout=10)
        refused.value.close()
        assert refused.value.code == 401
    finally:
        receiver.terminate()
        receiver.wait(20)
    assert log.read_text(encoding="utf-8") == "critical jailbreak job mail\n"


def test_the_example_is_short() -> None:
    assert len(EXAMPLE.read_text(encoding="utf-8").splitlines()) <= 36
