"""Jobs that come too late, again, under another's id, or from the future: a real worker, a real Redis."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from tests.integration.support import ATTACK, HARMLESS, Producer, Topic, Worker, by_item, item

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("worker")]


def test_a_job_past_its_deadline_is_answered_and_not_computed(producer: Producer, topic: Topic) -> None:
    job = {"job_id": "too-late", "items": [item("a", HARMLESS), item("b", ATTACK)]}
    producer.send_raw([job], expires=datetime.now(UTC) - timedelta(seconds=1))
    found = by_item(topic.results("too-late", 2))
    assert [found[name]["error"]["code"] for name in "ab"] == ["expired", "expired"]
    assert [found[name]["tokens"] for name in "ab"] == [None, None]
    assert topic.alarms("too-late") == []


def test_a_replayed_message_is_published_once(producer: Producer, topic: Topic) -> None:
    """Byte for byte, as whoever may write to Redis can put it there."""
    producer.send_raw([{"job_id": "replayed", "items": [item("a", ATTACK)]}], queue="aside")
    raw = topic.redis.rpop("aside")
    for _ in range(4):
        topic.redis.lpush("screening", raw)
    assert len(topic.results("replayed", 1)) == 1
    assert len(topic.alarms("replayed")) == 1


def test_another_text_under_a_used_id_is_an_error_and_the_first_verdict_stands(
    producer: Producer, topic: Topic
) -> None:
    for text in (HARMLESS, ATTACK, HARMLESS, ATTACK):
        producer.send(text, job_id="reused")
        topic.results("reused", 1)
    first, second = topic.results("reused", 2)
    assert first["data"]["verdict"] == "clean"
    assert second["data"]["error"]["code"] == "job_id_reused"
    assert topic.alarms("reused") == []
    assert len(topic.results("reused", 2)) == 2


def test_a_job_of_a_newer_contract_is_answered_and_kept(producer: Producer, topic: Topic) -> None:
    sent = producer.send(HARMLESS, schema_version=2, something="new")
    (event,) = topic.results(sent.job_id, 1)
    assert event["data"]["error"]["code"] == "unsupported_version"
    (letter,) = topic.letters(sent.id)
    assert letter["data"]["error"]["code"] == "unsupported_version"
    assert json.loads(letter["data"]["payload"])["something"] == "new"


def test_the_worker_lived_through_it(worker: Worker) -> None:
    assert worker.process.poll() is None
