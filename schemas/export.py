"""The published JSON Schemas: what a producer or consumer in any language programs against."""

from typing import Any

from pydantic import BaseModel

from schemas.event import AlarmEvent, DeadLetterEvent, DriftEvent, ResultEvent
from schemas.job import Job
from schemas.message import TaskMessage
from schemas.webhook import AlarmDigestEvent, PingEvent

PUBLISHED: dict[str, type[BaseModel]] = {
    "job": Job,
    "task-message": TaskMessage,
    "result-event": ResultEvent,
    "alarm-event": AlarmEvent,
    "dead-letter-event": DeadLetterEvent,
    "drift-event": DriftEvent,
    "alarm-digest-event": AlarmDigestEvent,
    "ping-event": PingEvent,
}

SENT = frozenset({"job", "task-message"})
"""What producers write; the others are read by consumers."""


def json_schema(name: str) -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of one published model.

    Args:
        name: A key of ``PUBLISHED``.

    Raises:
        KeyError: No model of that name is published.
    """
    schema = PUBLISHED[name].model_json_schema(mode="validation" if name in SENT else "serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
