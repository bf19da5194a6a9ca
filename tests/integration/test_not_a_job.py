"""A message that holds no job is answered under its task id, and kept for a person to look at."""

import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from schemas.export import json_schema
from tests.integration.support import HARMLESS, Producer, Topic, Worker, item

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("worker")]

CALLS: dict[str, tuple[list[Any], dict[str, Any]]] = {
    "no arguments": ([], {}),
    "text": (["just a text"], {}),
    "list": ([[HARMLESS]], {}),
    "null": ([None], {}),
    "number": ([7], {}),
    "empty object": ([{}], {}),
    "no job id": ([{"items": [item("a", HARMLESS)]}], {}),
    "job id with a space": ([{"job_id": "a b", "items": [item("a", HARMLESS)]}], {}),
    "no items": ([{"job_id": "x"}], {}),
    "items is text": ([{"job_id": "x", "items": "abc"}], {}),
    "empty items": ([{"job_id": "x", "items": []}], {}),
    "other keyword": ([], {"text": "hello"}),
    "two arguments": ([{"job_id": "x", "items": [item("a", HARMLESS)]}, "more"], {}),
    "not finite": ([[float("nan")]], {}),
    "lone surrogate": (["\ud83d alone"], {}),
    "surrogate as a key": ([{"\ud83d": 1}], {}),
}


@pytest.fixture
def sent_ids(producer: Producer) -> Iterator[list[str]]:
    """Ids of what a test sends: a message that the worker keeps putting back must not stay for ever."""
    sent: list[str] = []
    yield sent
    producer.app.control.revoke(sent)


@pytest.mark.parametrize(("args", "kwargs"), CALLS.values(), ids=CALLS)
def test_what_is_no_job_is_answered_and_kept(
    producer: Producer, topic: Topic, sent_ids: list[str], args: list[Any], kwargs: dict[str, Any]
) -> None:
    task_id = producer.send_raw(args, kwargs).id
    sent_ids.append(task_id)
    (event,) = topic.results(task_id, 1, timeout=10)
    jsonschema.Draft202012Validator(json_schema("result-event")).validate(event)
    assert event["data"]["error"]["code"] == "not_a_job"
    assert (event["data"]["item_id"], event["data"]["item_index"]) == (None, None)
    (letter,) = topic.letters(task_id)
    jsonschema.Draft202012Validator(json_schema("dead-letter-event")).validate(letter)
    assert letter["data"]["error"]["code"] == "not_a_job"
    assert letter["data"]["queue"] == "screening"


def test_the_payload_is_kept_as_it_came(producer: Producer, topic: Topic) -> None:
    payload = {"job_id": "x", "items": "abc", "größe": [1, None, {"a": True}]}
    task_id = producer.send_raw([payload]).id
    topic.results(task_id, 1)
    (letter,) = topic.letters(task_id)
    assert json.loads(letter["data"]["payload"]) == payload


def test_a_deeply_nested_message_is_buried_at_once(producer: Producer, topic: Topic, sent_ids: list[str]) -> None:
    payload: Any = "x"
    for _ in range(300):
        payload = [payload]
    task_id = producer.send_raw([payload]).id
    sent_ids.append(task_id)
    topic.results(task_id, 1, timeout=10)
    (letter,) = topic.letters(task_id)
    assert letter["data"]["attempts"] == 1
    assert json.loads(letter["data"]["payload"]) == payload


def test_a_job_beside_it_is_screened(producer: Producer, topic: Topic, worker: Worker) -> None:
    producer.send_raw(["just a text"])
    sent = producer.send(HARMLESS)
    (event,) = topic.results(sent.job_id, 1)
    assert event["data"]["verdict"] == "clean"
    assert worker.process.poll() is None
