"""The message written by hand is the message Celery reads."""

import base64
import json

import jsonschema
import pytest
from kombu.transport.virtual import Channel, Message

from schemas.export import json_schema
from schemas.message import task_message

JOB = {"job_id": "j", "items": [{"id": "a", "text": "héllo \u2028"}]}


def test_it_fits_its_schema() -> None:
    jsonschema.validate(json.loads(task_message(JOB, task_id="t", queue="screening.bulk")), json_schema("task-message"))


@pytest.mark.parametrize("missing", ["body", "headers", "properties", "content-type"])
def test_the_schema_wants_what_the_worker_wants(missing: str) -> None:
    message = json.loads(task_message(JOB, task_id="t"))
    del message[missing]
    if missing == "content-type":
        message["content-type"] = "application/x-python-serialize"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(message, json_schema("task-message"))


def test_kombu_reads_it() -> None:
    class Decoding:
        decode_body = Channel.decode_body
        codecs = Channel.codecs

    message = Message(json.loads(task_message(JOB, task_id="t")), channel=Decoding(), accept={"application/json"})
    assert message.decode() == [[JOB], {}, {}]
    assert message.headers["task"] == "alknet_firewall.screen"
    assert message.headers["argsrepr"] == "(hidden)"
    assert base64.b64decode(json.loads(task_message(JOB, task_id="t"))["body"]).decode().startswith("[[{")
