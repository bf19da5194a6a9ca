"""Each bad item gets an error result with its code, its neighbours are screened, the worker lives."""

from typing import Any

import jsonschema
import pytest

from schemas.export import json_schema
from tests.integration.support import HARMLESS, Producer, Topic, Worker, by_item, item

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("worker")]

BAD_ITEMS: dict[str, tuple[Any, str]] = {
    "empty text": (item("bad", ""), "empty_text"),
    "white space": (item("bad", " \n\t "), "empty_text"),
    "10 MB text": (item("bad", "x" * 10_000_000), "text_too_long"),
    "10 MB of 4-byte characters": (item("bad", "\U0001f600" * 2_500_000), "text_too_long"),
    "lone surrogate": (item("bad", "\ud83d alone"), "invalid_unicode"),
    "NUL": (item("bad", "before\x00after"), "text_contains_nul"),
    "1 M combining marks": (item("bad", "\u0301" * 1_000_000), "text_too_long"),
    "too many tokens": (item("bad", "!" * 200_000), "too_many_tokens"),
    "as many marks as fit": (item("bad", "\u0301" * 262_144), "no_tokens"),
    "no tokens": (item("bad", "\u0301" * 500), "no_tokens"),
    "text is a number": (item("bad", 42), "invalid_field"),
    "text is null": (item("bad", None), "invalid_field"),
    "text is a list": (item("bad", ["a"]), "invalid_field"),
    "no text": ({"id": "bad"}, "invalid_field"),
    "unknown field": ({**item("bad", "hello"), "txet": "hello"}, "unknown_field"),
    "infinite metadata": ({**item("bad", "hello"), "metadata": {"x": float("inf")}}, "invalid_field"),
    "NaN metadata": ({**item("bad", "hello"), "metadata": {"x": float("nan")}}, "invalid_field"),
    "nested metadata": ({**item("bad", "hello"), "metadata": {"x": {"y": 1}}}, "invalid_field"),
    "large metadata": ({**item("bad", "hello"), "metadata": {"x": "y" * 5000}}, "invalid_field"),
    "surrogate in metadata": ({**item("bad", "hello"), "metadata": {"x": "\ud83d"}}, "invalid_field"),
}

NAMELESS_ITEMS: dict[str, tuple[Any, str]] = {
    "item is text": ("just text", "invalid_field"),
    "item is null": (None, "invalid_field"),
    "item is a list": ([], "invalid_field"),
    "id is a number": (item(7, "hello"), "invalid_field"),
    "id is empty": (item("", "hello"), "invalid_field"),
    "id with a line break": (item("a\nb", "hello"), "invalid_field"),
    "id with a surrogate": (item("\ud83d", "hello"), "invalid_unicode"),
    "id too long": (item("x" * 257, "hello"), "invalid_field"),
    "no id": ({"text": "hello"}, "invalid_field"),
}

BAD_JOBS: dict[str, tuple[dict[str, Any], str]] = {
    "unknown policy": ({"policy": "strict"}, "unknown_policy"),
    "unknown field": ({"polcy": "default"}, "unknown_field"),
    "unknown source": ({"source": "fax"}, "invalid_field"),
    "tenant with a space": ({"tenant": "a b"}, "invalid_field"),
    "future version": ({"schema_version": 2}, "unsupported_version"),
    "no version": ({"schema_version": "2"}, "invalid_field"),
    "infinite metadata": ({"metadata": {"x": float("-inf")}}, "invalid_field"),
}


def assert_refused(event: dict[str, Any], code: str) -> None:
    jsonschema.Draft202012Validator(json_schema("result-event")).validate(event)
    data = event["data"]
    assert (data["status"], data["verdict"]) == ("error", None)
    assert data["error"]["code"] == code
    assert not data["error"]["retryable"]
    assert data["error"]["message"]


@pytest.mark.parametrize(("bad", "code"), BAD_ITEMS.values(), ids=BAD_ITEMS)
def test_a_bad_item_fails_alone(producer: Producer, topic: Topic, bad: Any, code: str) -> None:
    sent = producer.send(items=[item("before", HARMLESS), bad, item("after", HARMLESS)])
    events = topic.results(sent.job_id, 3)
    found = by_item(events)
    assert sorted(found) == ["after", "bad", "before"]
    assert_refused(next(event for event in events if event["data"]["item_id"] == "bad"), code)
    assert found["bad"]["item_index"] == 1
    assert [found[name]["verdict"] for name in ("before", "after")] == ["clean", "clean"]


@pytest.mark.parametrize(("bad", "code"), NAMELESS_ITEMS.values(), ids=NAMELESS_ITEMS)
def test_an_item_without_a_readable_id_is_answered_by_its_place(
    producer: Producer, topic: Topic, bad: Any, code: str
) -> None:
    sent = producer.send(items=[item("before", HARMLESS), bad, item("after", HARMLESS)])
    events = topic.results(sent.job_id, 3)
    assert sorted(event["data"]["item_index"] for event in events) == [0, 1, 2]
    assert_refused(next(event for event in events if event["data"]["item_id"] is None), code)
    assert sum(event["data"]["verdict"] == "clean" for event in events) == 2


def test_items_with_the_same_id_are_refused_and_the_others_screened(producer: Producer, topic: Topic) -> None:
    sent = producer.send(items=[item("twin", HARMLESS), item("only", HARMLESS), item("twin", "Another text.")])
    events = sorted(topic.results(sent.job_id, 3), key=lambda event: event["data"]["item_index"])
    assert_refused(events[0], "duplicate_item_id")
    assert_refused(events[2], "duplicate_item_id")
    assert events[1]["data"]["verdict"] == "clean"
    assert len({event["id"] for event in events}) == 3


@pytest.mark.parametrize(("fields", "code"), BAD_JOBS.values(), ids=BAD_JOBS)
def test_a_bad_job_is_answered_item_by_item(
    producer: Producer, topic: Topic, fields: dict[str, Any], code: str
) -> None:
    sent = producer.send(HARMLESS, HARMLESS, **fields)
    events = topic.results(sent.job_id, 2)
    assert sorted(by_item(events)) == ["i0", "i1"]
    for event in events:
        assert_refused(event, code)


def test_too_many_items_are_answered_as_a_whole(producer: Producer, topic: Topic) -> None:
    sent = producer.send(*["hi"] * 257)
    (event,) = topic.results(sent.job_id, 1)
    assert_refused(event, "too_many_items")
    assert (event["data"]["item_id"], event["data"]["item_index"]) == (None, None)


def test_a_corrected_job_with_the_same_id_is_published(producer: Producer, topic: Topic) -> None:
    sent = producer.send(items=[item("a", "")])
    (wrong,) = topic.results(sent.job_id, 1)
    producer.send(items=[item("a", HARMLESS)], job_id=sent.job_id)
    right = topic.results(sent.job_id, 2)[1]
    assert (wrong["data"]["status"], right["data"]["verdict"]) == ("error", "clean")
    assert wrong["id"] != right["id"]


def test_a_job_of_the_largest_size_is_screened(producer: Producer, topic: Topic) -> None:
    sent = producer.send(*["hi"] * 256)
    assert {event["data"]["status"] for event in topic.results(sent.job_id, 256)} == {"screened"}


def test_texts_that_are_too_large_together_are_each_answered(producer: Producer, topic: Topic) -> None:
    sent = producer.send(*["é" * 262_144] * 17)  # each is within its own limit
    events = topic.results(sent.job_id, 17)
    assert {event["data"]["error"]["code"] for event in events} == {"job_too_large"}


def test_messages_do_not_quote_the_text(producer: Producer, topic: Topic) -> None:
    misspelt = {**item("field", "hello"), "QUOTED QUOTED": "QUOTED"}
    sent = producer.send(items=[item("nul", "QUOTED\x00"), misspelt, item("t", ["QUOTED"])])
    assert "QUOTED" not in str(topic.results(sent.job_id, 3))


def test_marks_on_a_letter_do_not_keep_the_worker_busy(producer: Producer, topic: Topic) -> None:
    """Whole-string normalisation of such a text is quadratic and takes hours."""
    sent = producer.send(items=[item("zalgo", "a" + "\u0301\u0316" * 100_000), item("other", HARMLESS)])
    found = by_item(topic.results(sent.job_id, 2))
    assert found["other"]["verdict"] == "clean"
    assert found["zalgo"]["status"] == "screened"


def test_the_worker_lived_through_all_of_it(worker: Worker, producer: Producer, topic: Topic) -> None:
    sent = producer.send(HARMLESS)
    topic.results(sent.job_id, 1)
    assert worker.process.poll() is None
    assert worker.log.count("worker ready pid=") == 1
    assert f"worker ready pid={worker.process.pid}" in worker.log
