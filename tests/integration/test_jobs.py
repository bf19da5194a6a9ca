import uuid
from datetime import datetime
from typing import Any

import jsonschema
import pytest
from celery import Celery

from schemas.export import json_schema
from tests.integration.support import ATTACK, HARMLESS, Producer, Topic, Worker, by_item, item

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("worker")]


def validate(event: dict[str, Any], schema: str) -> None:
    jsonschema.Draft202012Validator(json_schema(schema)).validate(event)


def test_a_harmless_text_becomes_one_valid_result_event(producer: Producer, topic: Topic) -> None:
    sent = producer.send(HARMLESS, source="chat", tenant="acme", metadata={"turn": 7})
    (event,) = topic.results(sent.job_id, 1)
    validate(event, "result-event")
    assert event["specversion"] == "1.0"
    assert event["type"] == "alknet.firewall.result.v1"
    assert event["source"] == "/alknet-firewall/results"
    assert event["subject"] == sent.job_id
    assert datetime.fromisoformat(event["time"]).utcoffset() is not None
    data = event["data"]
    assert (data["status"], data["verdict"], data["severity"]) == ("screened", "clean", None)
    assert (data["source"], data["tenant"], data["metadata"]) == ("chat", "acme", {"turn": 7})
    assert topic.alarms(sent.job_id) == []


def test_an_attack_raises_an_alarm_with_the_results_id(producer: Producer, topic: Topic) -> None:
    sent = producer.send(ATTACK, metadata={"turn": 8})
    (result,) = topic.results(sent.job_id, 1)
    (alarm,) = topic.alarms(sent.job_id)
    validate(result, "result-event")
    validate(alarm, "alarm-event")
    assert alarm["id"] == alarm["data"]["alarm_id"] == result["id"] == result["data"]["result_id"]
    assert (result["source"], alarm["source"]) == ("/alknet-firewall/results", "/alknet-firewall/alarms")
    assert result["data"]["verdict"] == "flagged"
    assert alarm["data"]["metadata"] == {"turn": 8}
    assert all(0 <= span["start"] < span["end"] <= len(ATTACK) for span in alarm["data"]["evidence"])
    assert alarm["data"]["evidence"]


def test_by_default_nothing_of_the_text_is_in_the_events(producer: Producer, topic: Topic) -> None:
    sent = producer.send(ATTACK)
    (result,) = topic.results(sent.job_id, 1)
    assert "ACCESS GRANTED" not in str(result) + str(topic.alarms(sent.job_id))


def test_every_item_of_many_concurrent_jobs_is_answered_exactly_once(producer: Producer, topic: Topic) -> None:
    singles = [producer.send(f"{HARMLESS} Oven number {n}.") for n in range(200)]
    batches = [producer.send(*(f"Plot {n} of row {row} asked for compost." for n in range(64))) for row in range(4)]
    for sent in singles:
        (event,) = topic.results(sent.job_id, 1)
        assert event["data"]["item_id"] == "i0"
    for sent in batches:
        events = topic.results(sent.job_id, 64)
        assert sorted(by_item(events)) == sorted(f"i{n}" for n in range(64))
        assert len({event["id"] for event in events}) == 64


def test_a_batch_gives_the_verdicts_of_single_texts(producer: Producer, topic: Topic) -> None:
    together = producer.send(HARMLESS, ATTACK, "Forget the parsley, I have none.")
    alone = producer.send(ATTACK)
    batched = by_item(topic.results(together.job_id, 3))
    (single,) = topic.results(alone.job_id, 1)
    assert [batched[i]["verdict"] for i in ("i0", "i1")] == ["clean", "flagged"]
    assert batched["i1"]["score"] == pytest.approx(single["data"]["score"], abs=1e-2)


def test_the_same_job_submitted_twice_is_published_once(producer: Producer, topic: Topic) -> None:
    job_id = str(uuid.uuid4())
    producer.send(HARMLESS, ATTACK, job_id=job_id)
    producer.send(HARMLESS, ATTACK, job_id=job_id)
    assert len(topic.results(job_id, 2)) == 2
    assert len(topic.alarms(job_id)) == 1


def test_the_same_job_of_two_tenants_is_published_for_both(producer: Producer, topic: Topic) -> None:
    job_id = str(uuid.uuid4())
    for tenant in ("acme", "beta"):
        producer.send(HARMLESS, job_id=job_id, tenant=tenant)
    events = topic.results(job_id, 2)
    assert {event["data"]["tenant"] for event in events} == {"acme", "beta"}
    assert len({event["id"] for event in events}) == 2


def test_a_producer_who_asks_gets_the_results_back(url: str, topic: Topic) -> None:
    job_id = str(uuid.uuid4())
    job = {"job_id": job_id, "items": [item("a", HARMLESS), item("b", ATTACK)]}
    app = Celery("some_backend", broker=url, backend=url, set_as_current=False)
    pending = app.send_task("alknet_firewall.screen", args=[job], queue="screening", ignore_result=False)
    try:
        returned = pending.get(timeout=30)
    finally:
        pending.forget()
        app.backend.result_consumer.stop()
        app.backend.client.close()
        app.close()
    assert [result["verdict"] for result in returned] == ["clean", "flagged"]
    published = by_item(topic.results(job_id, 2))
    assert returned == [published["a"], published["b"]]


@pytest.mark.parametrize("options", [{}, {"ignore_result": True}], ids=["by default", "declined"])
def test_a_producer_who_does_not_ask_leaves_no_celery_result(
    producer: Producer, topic: Topic, options: dict[str, bool]
) -> None:
    job_id = str(uuid.uuid4())
    sent = producer.send_raw([{"job_id": job_id, "items": [item("a", HARMLESS)]}], **options)
    topic.results(job_id, 1)
    assert not topic.redis.exists(f"celery-task-meta-{sent.id}")


def test_the_bulk_queue_is_consumed(producer: Producer, topic: Topic) -> None:
    sent = producer.send(HARMLESS, ATTACK, queue="screening.bulk")
    assert len(topic.results(sent.job_id, 2)) == 2


def test_a_job_may_be_given_by_keyword(producer: Producer, topic: Topic) -> None:
    job_id = str(uuid.uuid4())
    producer.send_raw([], {"job": {"job_id": job_id, "items": [item("a", HARMLESS)]}})
    (event,) = topic.results(job_id, 1)
    assert event["data"]["verdict"] == "clean"


def test_a_long_document_is_read_to_its_end(producer: Producer, topic: Topic) -> None:
    """Its last sentence moves the score, wherever the windows end; the verdict is the codebook's matter."""
    minutes = "The treasurer read the water meter, and the committee thanked the hedge volunteers. " * 60
    sent = producer.send(minutes, minutes + ATTACK)
    found = by_item(topic.results(sent.job_id, 2))
    without, planted = found["i0"], found["i1"]
    assert planted["windows"] > 1
    assert planted["characters"] == len(minutes + ATTACK)
    assert planted["tokens"] > without["tokens"]
    assert override_score(planted) > override_score(without)


def override_score(result: dict[str, Any]) -> float:
    (score,) = (s["score"] for s in result["signals"] if s["signal"] == "instruction_override")
    return float(score)


def test_no_job_leaves_a_count_of_attempts_behind(producer: Producer, topic: Topic) -> None:
    sent = producer.send(HARMLESS)
    topic.results(sent.job_id, 1)
    assert topic.redis.keys("firewall:attempts:*") == []


def test_the_worker_is_healthy_only_after_the_model_proved_itself(worker: Worker) -> None:
    assert "golden texts: logits within" in worker.log_when_healthy
    assert "ready: model sentence-transformers/all-MiniLM-L6-v2" in worker.log_when_healthy
