"""An AsyncAPI 3 document of the queues and streams, made from the models.

Specification: https://www.asyncapi.com/docs/reference/specification/v3.0.0. Operations are the worker's: it receives
what producers send, and sends what consumers read.
"""

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from schemas.event import AlarmEvent, DeadLetterEvent, DriftEvent, ResultEvent
from schemas.job import Job
from schemas.message import TaskMessage
from schemas.names import QUEUE_BULK, QUEUE_INTERACTIVE, STREAM_ALARMS, STREAM_DEAD, STREAM_DRIFT, STREAM_RESULTS

QUEUES = {
    "screening": (QUEUE_INTERACTIVE, "Jobs that somebody waits for. A Redis list: LPUSH."),
    "screeningBulk": (QUEUE_BULK, "Jobs that yield to those. A Redis list: LPUSH."),
}
STREAMS: dict[str, tuple[str, type[BaseModel], str]] = {
    "results": (STREAM_RESULTS, ResultEvent, "One result for every item of every job."),
    "alarms": (STREAM_ALARMS, AlarmEvent, "One alarm for every flagged item, unless its policy raises none."),
    "deadLetters": (STREAM_DEAD, DeadLetterEvent, "What could not be processed, with the payload: protect it."),
    "drift": (STREAM_DRIFT, DriftEvent, "Traffic that is no longer what the codebook was calibrated on."),
}
JOB_ID = {"location": "$message.payload#/subject", "description": "The job id."}
STREAM_NOTE = "A Redis stream; each entry has one field, `event`, a CloudEvents 1.0 envelope as JSON text."


def asyncapi() -> dict[str, Any]:
    """Return the document."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "alknet-firewall",
            "version": "1.0.0",
            "description": "Screens untrusted text before an LLM reads it. Versions of this document are those of "
            "the wire contract (`schema_version`), not of the software.",
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "redis": {
                "host": "127.0.0.1:6379",
                "protocol": "redis",
                "description": "Whatever REDIS_URL says; rediss for TLS.",
            }
        },
        "channels": {
            **{name: _queue(address, text) for name, (address, text) in QUEUES.items()},
            **{name: _stream(name, address, text) for name, (address, _, text) in STREAMS.items()},
        },
        "operations": {
            **{f"receive{_title(name)}": _operation("receive", name, "task") for name in QUEUES},
            **{f"send{_title(name)}": _operation("send", name, name) for name in STREAMS},
        },
        "components": {"messages": _messages(), "schemas": _schemas()},
    }


def _queue(address: str, text: str) -> dict[str, Any]:
    return {
        "address": address,
        "title": text.split(".", 1)[0],
        "description": f"{text} With Celery: `send_task` to the queue of this name.",
        "messages": {"task": {"$ref": "#/components/messages/task"}},
    }


def _stream(name: str, address: str, text: str) -> dict[str, Any]:
    return {
        "address": address,
        "title": text.split(",", 1)[0].rstrip("."),
        "description": f"{text} {STREAM_NOTE}",
        "messages": {name: {"$ref": f"#/components/messages/{name}"}},
    }


def _operation(action: str, channel: str, message: str) -> dict[str, Any]:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "messages": [{"$ref": f"#/channels/{channel}/messages/{message}"}],
    }


def _messages() -> dict[str, Any]:
    task = {
        "name": "task",
        "title": "A job in its Celery message",
        "contentType": "application/json",
        "description": "`body` is the Base64 of the JSON text `[[job], {}, {}]`; job: #/components/schemas/Job.",
        "payload": {"$ref": "#/components/schemas/TaskMessage"},
    }
    events = {
        name: {
            "name": model.model_fields["type"].default,
            "title": text.rstrip("."),
            "contentType": "application/cloudevents+json",
            "payload": {"$ref": f"#/components/schemas/{model.__name__}"},
            # A drift is not about a job.
            **({} if model is DriftEvent else {"correlationId": JOB_ID}),
        }
        for name, (_, model, text) in STREAMS.items()
    }
    return {"task": task, **events}


def _schemas() -> dict[str, Any]:
    sent = [(model, "validation") for model in (Job, TaskMessage)]
    read = [(model, "serialization") for _, model, _ in STREAMS.values()]
    _, definitions = models_json_schema([*sent, *read], ref_template="#/components/schemas/{model}")  # type: ignore[list-item]
    found: dict[str, Any] = definitions["$defs"]
    return found


def _title(name: str) -> str:
    return name[0].upper() + name[1:]
