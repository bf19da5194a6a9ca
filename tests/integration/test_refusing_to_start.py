"""A worker that cannot serve says why in one line, exits with EX_CONFIG, and takes no job."""

import shutil
from pathlib import Path

import pytest

from tests.integration.support import HARMLESS, UNACKED, WORKER_START_S, Producer, Topic, started
from tests.planted import planted_pickle
from worker.codebook.shipped import codebook_path
from worker.model.pinned import MINILM

pytestmark = pytest.mark.integration

EX_CONFIG = 78


def assert_refuses(
    url: str, topic: Topic, producer: Producer, logs: Path, code: str, *arguments: str, **environment: str
) -> None:
    producer.send(HARMLESS)
    with started(url, logs, *arguments, environment=environment) as worker:
        assert worker.process.wait(WORKER_START_S) == EX_CONFIG, worker.log
        told = [line for line in worker.log.splitlines() if "CRITICAL" in line]
        assert len(told) == 1, worker.log
        assert f"{code}: " in told[0]
        # An error nobody foresaw is told with its place.
        assert ("Traceback" in worker.log) == (code == "load_failed")
        assert not worker.health.exists()
    assert topic.queued() == 1
    assert topic.redis.hlen(UNACKED) == 0
    assert topic.redis.xlen("firewall:results") == 0


@pytest.mark.parametrize("pool", ["threads", "prefork"])
def test_without_its_codebook(own_url: str, own_topic: Topic, own_producer: Producer, logs: Path, pool: str) -> None:
    missing = str(logs / "no-codebook.safetensors")
    assert_refuses(
        own_url,
        own_topic,
        own_producer,
        logs,
        "codebook_not_found",
        *("--pool", pool, "-c", "1"),
        FIREWALL_CODEBOOK=missing,
    )


def test_with_pickled_weights(own_url: str, own_topic: Topic, own_producer: Producer, logs: Path) -> None:
    model = logs / "model"
    model.mkdir()
    for name in ("config.json", "tokenizer.json"):
        (model / name).write_text("{}", encoding="utf-8")
    trace = logs / "was-executed"
    (model / "pytorch_model.bin").write_bytes(planted_pickle(trace))
    codebook = shutil.copy(codebook_path(MINILM, None), logs / "codebook.safetensors")
    assert_refuses(
        own_url,
        own_topic,
        own_producer,
        logs,
        "unsafe_weights",
        FIREWALL_MODEL=str(model),
        FIREWALL_CODEBOOK=str(codebook),
    )
    assert not trace.exists()


def test_with_a_codebook_that_is_none(own_url: str, own_topic: Topic, own_producer: Producer, logs: Path) -> None:
    damaged = logs / "damaged.safetensors"
    damaged.write_bytes(codebook_path(MINILM, None).read_bytes()[:5000])
    assert_refuses(own_url, own_topic, own_producer, logs, "codebook_invalid", FIREWALL_CODEBOOK=str(damaged))


def test_on_a_device_that_is_not_there(own_url: str, own_topic: Topic, own_producer: Producer, logs: Path) -> None:
    assert_refuses(own_url, own_topic, own_producer, logs, "load_failed", FIREWALL_DEVICE="cuda:31")


def test_with_a_malformed_sentry_dsn(own_url: str, own_topic: Topic, own_producer: Producer, logs: Path) -> None:
    assert_refuses(own_url, own_topic, own_producer, logs, "load_failed", FIREWALL_SENTRY_DSN="no-dsn")
