"""What the contract takes and refuses."""

import json
import math
from typing import Any

import pytest
from pydantic import ValidationError

from schemas import (
    Alarm,
    AlarmEvent,
    DeadLetter,
    DeadLetterEvent,
    ErrorInfo,
    EvidenceSpan,
    Item,
    ItemResult,
    Job,
    JobHeader,
    ResultEvent,
    SignalScore,
    limits,
    result_id,
)

ITEM = {"id": "i", "text": "Hello"}


def job(**changes: Any) -> dict[str, Any]:
    return {"job_id": "job-1", "items": [ITEM], **changes}


def result(**changes: Any) -> ItemResult:
    fields = {"result_id": "r", "job_id": "j", "item_id": "i", "item_index": 0, "status": "screened"}
    return ItemResult.model_validate({**fields, **changes})


def test_defaults_of_a_minimal_job() -> None:
    header = Job.model_validate(job())
    assert (header.schema_version, header.source, header.tenant, header.policy) == (1, "other", None, "default")
    assert header.metadata == {}


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"extra": 1}, id="unknown field"),
        pytest.param({"job_id": 7}, id="number for an id"),
        pytest.param({"job_id": ""}, id="empty id"),
        pytest.param({"job_id": "two words"}, id="space in an id"),
        pytest.param({"job_id": "jöb"}, id="id beyond ASCII"),
        pytest.param({"job_id": "job\n"}, id="id with a line break"),
        pytest.param({"job_id": "j" * 257}, id="long id"),
        pytest.param({"schema_version": 2}, id="future version"),
        pytest.param({"schema_version": "1"}, id="version as text"),
        pytest.param({"source": "sms"}, id="unknown source"),
        pytest.param({"tenant": "a b"}, id="tenant with a space"),
        pytest.param({"policy": ""}, id="empty policy"),
        pytest.param({"items": []}, id="no items"),
        pytest.param({"items": [ITEM] * 257}, id="too many items"),
        pytest.param({"items": [ITEM, {"id": "j", "text": "t"}, ITEM]}, id="an item id twice"),
        pytest.param({"items": [{"id": "i", "text": b"bytes"}]}, id="bytes for a text"),
        pytest.param({"items": [{"id": "i", "text": 5}]}, id="number for a text"),
        pytest.param({"items": [{"id": "i\x00", "text": "t"}]}, id="control character in an item id"),
        pytest.param({"items": [{"id": "i\n", "text": "t"}]}, id="line break in an item id"),
    ],
)
def test_job_refuses(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Job.model_validate(job(**fields))


def test_item_takes_the_longest_text() -> None:
    longest = "x" * limits.MAX_ITEM_CHARACTERS
    assert Item(id="i", text=longest).text == longest


def test_item_refuses_one_character_more() -> None:
    with pytest.raises(ValidationError):
        Item(id="i", text="x" * (limits.MAX_ITEM_CHARACTERS + 1))


def test_text_is_kept_as_it_is() -> None:
    text = "  e\u0301 \r\n\t\ufeff "
    assert Item(id="i", text=text).text == text


def test_metadata_at_the_limit_is_taken() -> None:
    overhead = len('{"k":""}')
    metadata = {"k": "x" * (limits.MAX_METADATA_BYTES - overhead)}
    assert JobHeader(job_id="j", metadata=metadata).metadata == metadata


def test_metadata_one_byte_over_the_limit_is_refused() -> None:
    with pytest.raises(ValidationError, match="4097 bytes"):
        JobHeader(job_id="j", metadata={"k": "x" * (limits.MAX_METADATA_BYTES - 7)})


def test_metadata_counts_bytes_not_characters() -> None:
    with pytest.raises(ValidationError, match="bytes"):
        JobHeader(job_id="j", metadata={"k": "界" * 1400})


def test_metadata_refuses_a_33rd_key() -> None:
    with pytest.raises(ValidationError):
        JobHeader(job_id="j", metadata={str(n): n for n in range(33)})


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, [1], {"a": 1}, b"x"])
def test_metadata_refuses_what_is_not_a_plain_value(value: object) -> None:
    with pytest.raises(ValidationError):
        JobHeader.model_validate({"job_id": "j", "metadata": {"k": value}})


@pytest.mark.parametrize("value", ["", "text", True, 0, -3, 0.25, None])
def test_metadata_comes_back_unchanged(value: object) -> None:
    header = JobHeader.model_validate({"job_id": "j", "metadata": {"k": value}})
    again = json.loads(header.model_dump_json())["metadata"]["k"]
    assert again == value
    assert type(again) is type(value)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_non_finite_score_is_refused(number: float) -> None:
    with pytest.raises(ValidationError):
        SignalScore(signal="jailbreak", score=number, p_value=0.5)


@pytest.mark.parametrize("number", [math.nan, -0.001, 1.001])
def test_p_value_outside_its_range_is_refused(number: float) -> None:
    with pytest.raises(ValidationError):
        result(p_value=number)


def test_error_code_is_a_word() -> None:
    with pytest.raises(ValidationError):
        ErrorInfo(code="Not a code", message="m", retryable=False)


def test_excerpt_is_off_unless_given() -> None:
    assert EvidenceSpan(signal="jailbreak", start=0, end=1, weight=1.0).excerpt is None


def test_result_may_carry_the_metadata_of_job_and_item_together() -> None:
    both = {f"job{n}": n for n in range(32)} | {f"item{n}": n for n in range(32)}
    assert result(metadata=both).metadata == both


def test_result_id_is_the_same_for_ever() -> None:
    assert result_id("job-1", "item-1", 0) == "c7cc3fcb-ce4f-562c-a65b-0ccc27a5b6d9"
    assert result_id("job-1", None, 2) == "735006d2-d6e1-599a-9006-d9157f2025d2"
    assert result_id("job-1", None, None) == "4134e849-88f3-5f06-81a6-005174d1305b"
    assert result_id("job-1", "item-1", 3, by_index=True) == "3a04aacd-0a2d-552c-b5e4-1b0c248af168"


def test_result_id_does_not_depend_on_the_position_of_a_named_item() -> None:
    assert result_id("job-1", "item-1", 0) == result_id("job-1", "item-1", 9)


def test_error_result_has_an_id_of_its_own() -> None:
    for names in [("job-1", "item-1", 0), ("job-1", None, 2), ("job-1", None, None)]:
        assert result_id(*names, failed=True) != result_id(*names)
        assert result_id(*names, failed=True) == result_id(*names, failed=True)


def test_tenants_with_the_same_names_do_not_collide() -> None:
    ids = {result_id("job-1", "item-1", 0, tenant=tenant) for tenant in (None, "acme", "beta", "error")}
    ids |= {result_id("job-1", "item-1", 0, tenant=tenant, failed=True) for tenant in (None, "acme", "beta", "error")}
    assert len(ids) == 8


def test_result_ids_of_neighbouring_names_differ() -> None:
    ids = {result_id(*names, 0) for names in [("a", "bc"), ("ab", "c"), ("abc", ""), ("", "abc"), ("a", None)]}
    assert len(ids) == 5


def test_result_event_is_a_cloud_event() -> None:
    event = json.loads(ResultEvent(id="r", subject="j", data=result()).model_dump_json())
    assert event["specversion"] == "1.0"
    assert event["type"] == "alknet.firewall.result.v1"
    assert event["source"] == "/alknet-firewall/results"
    assert event["datacontenttype"] == "application/json"
    assert event["time"].endswith("Z")


def alarm() -> Alarm:
    return Alarm(
        alarm_id="r",
        job_id="j",
        item_id="i",
        severity="notice",
        signal="jailbreak",
        p_value=0.001,
        signals=[],
        evidence=[],
        policy="default",
        codebook="c",
    )


def letter(payload: str = "") -> DeadLetter:
    error = ErrorInfo(code="not_a_job", message="m", retryable=False)
    return DeadLetter(task_id="t", queue="screening", attempts=1, error=error, payload=payload)


def test_alarm_event_has_its_type() -> None:
    assert AlarmEvent(id="r", data=alarm()).type == "alknet.firewall.alarm.v1"


def test_a_source_and_an_id_name_one_event() -> None:
    events = [
        ResultEvent(id="r", data=result()),
        AlarmEvent(id="r", data=alarm()),
        DeadLetterEvent(id="r", data=letter()),
    ]
    assert [event.source for event in events] == [
        "/alknet-firewall/results",
        "/alknet-firewall/alarms",
        "/alknet-firewall/dead",
    ]


def test_result_round_trips_through_json() -> None:
    full = result(
        verdict="flagged",
        severity="warning",
        score=4.5,
        p_value=0.0005,
        extrapolated=True,
        signals=[{"signal": "jailbreak", "score": 7.25, "p_value": 0.0005}],
        evidence=[{"signal": "jailbreak", "start": 3, "end": 9, "weight": 0.75}],
        metadata={"thread": "t"},
    )
    assert ItemResult.model_validate_json(full.model_dump_json()) == full


def test_payload_of_a_dead_letter_is_text() -> None:
    event = DeadLetterEvent(id="t:1", data=letter('["\\ud83d"]'))
    assert json.loads(event.model_dump_json())["data"]["payload"] == '["\\ud83d"]'
    with pytest.raises(ValidationError):
        DeadLetter.model_validate(letter().model_dump() | {"payload": {"a": 1}})


def test_job_of_the_largest_size_is_taken_and_one_byte_more_is_not() -> None:
    each = limits.MAX_ITEM_CHARACTERS
    items = [{"id": str(n), "text": "x" * each} for n in range(limits.MAX_JOB_BYTES // each)]
    assert len(Job.model_validate(job(items=items)).items) == 32
    with pytest.raises(ValidationError, match="8388609 bytes"):
        Job.model_validate(job(items=[*items, {"id": "more", "text": "x"}]))


def test_size_of_a_job_counts_bytes_not_characters() -> None:
    items = [{"id": str(n), "text": "界" * 200_000} for n in range(15)]
    with pytest.raises(ValidationError, match="bytes"):
        Job.model_validate(job(items=items))
