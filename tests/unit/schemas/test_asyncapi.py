"""The AsyncAPI document: whole, current, and true of what is really sent."""

import json
from typing import Any

import jsonschema
import pytest

from schemas import Alarm, AlarmEvent, ItemResult, Job, ResultEvent
from schemas.asyncapi import asyncapi
from schemas.message import task_message
from tests.unit.schemas.regenerate import ASYNCAPI

DOCUMENT = asyncapi()


def references(part: Any) -> list[str]:
    if isinstance(part, dict):
        here = [part["$ref"]] if isinstance(part.get("$ref"), str) else []
        return here + [found for value in part.values() for found in references(value)]
    return [found for value in part for found in references(value)] if isinstance(part, list) else []


def resolve(reference: str) -> Any:
    part: Any = DOCUMENT
    for name in reference.removeprefix("#/").split("/"):
        part = part[name]
    return part


def payload(message: str) -> dict[str, Any]:
    """The schema of a message's payload, with what it refers to."""
    return {**DOCUMENT["components"]["messages"][message]["payload"], "components": DOCUMENT["components"]}


def test_the_file_is_current() -> None:
    assert json.loads(ASYNCAPI.read_text(encoding="utf-8")) == DOCUMENT, (
        "regenerate with: python -m tests.unit.schemas.regenerate"
    )


def test_every_reference_leads_somewhere() -> None:
    found = references(DOCUMENT)
    assert found
    assert all(resolve(reference) for reference in found)


def test_addresses_are_the_published_names() -> None:
    assert {channel["address"] for channel in DOCUMENT["channels"].values()} == {
        "screening",
        "screening.bulk",
        "firewall:results",
        "firewall:alarms",
        "firewall:dead",
        "firewall:drift",
    }


def test_every_operation_uses_a_message_of_its_channel() -> None:
    for operation in DOCUMENT["operations"].values():
        channel = resolve(operation["channel"]["$ref"])
        for message in operation["messages"]:
            assert resolve(message["$ref"]) in channel["messages"].values()


@pytest.mark.parametrize("name", DOCUMENT["components"]["schemas"])
def test_every_schema_is_one(name: str) -> None:
    # AsyncAPI's own schema objects are a superset of draft 7.
    jsonschema.Draft7Validator.check_schema(DOCUMENT["components"]["schemas"][name])


def test_what_is_sent_fits() -> None:
    job = {"job_id": "j", "items": [{"id": "a", "text": "hello"}]}
    Job.model_validate(job)
    jsonschema.validate(json.loads(task_message(job, task_id="t")), payload("task"))
    result = ItemResult(result_id="r", job_id="j", item_id="i", item_index=0, status="screened", verdict="clean")
    jsonschema.validate(json.loads(ResultEvent(id="r", data=result).model_dump_json()), payload("results"))
    alarm = Alarm(
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
    event = json.loads(AlarmEvent(id="r", data=alarm).model_dump_json())
    jsonschema.validate(event, payload("alarms"))
    del event["data"]["severity"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(event, payload("alarms"))
