"""The Celery message around a job, for producers that have no Celery: what lies in the queue, a Redis list.

Celery's message protocol 2 in the envelope of Kombu's Redis transport. LPUSH it as JSON text onto the list
``screening`` or ``screening.bulk``. Producers that have Celery call ``send_task`` and never see this.
"""

import base64
import json
import uuid
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from schemas.names import QUEUE_INTERACTIVE


class MessageHeaders(BaseModel):
    """Headers of a task call (Celery message protocol, version 2)."""

    model_config = ConfigDict(extra="allow", strict=True)

    id: Annotated[str, Field(min_length=1, description="The task's id, unique per message.")]
    task: Literal["alknet_firewall.screen"] = "alknet_firewall.screen"
    lang: Annotated[str, Field(description="Language of the producer, for people.")] = "py"
    root_id: Annotated[str, Field(description="The same as id.")]
    argsrepr: Annotated[str, Field(description="Shown by monitoring tools: never the text.")] = "(hidden)"
    kwargsrepr: str = "{}"
    ignore_result: Annotated[
        bool,
        Field(description="False: results are kept in celery-task-meta-<id> for an hour."),
    ] = True
    retries: Literal[0] = 0


class DeliveryInfo(BaseModel):
    """Where the message is going."""

    model_config = ConfigDict(extra="allow", strict=True)

    exchange: str = ""
    routing_key: Annotated[str, Field(description="The queue's name.")] = QUEUE_INTERACTIVE


class MessageProperties(BaseModel):
    """Properties of the message (Kombu's virtual transports)."""

    model_config = ConfigDict(extra="allow", strict=True)

    correlation_id: Annotated[str, Field(description="The same as headers.id.")]
    delivery_tag: Annotated[str, Field(min_length=1, description="Unique per message; a UUID.")]
    delivery_mode: Literal[1, 2] = 2
    delivery_info: DeliveryInfo = Field(default_factory=DeliveryInfo)
    priority: Literal[0] = 0
    body_encoding: Literal["base64"] = "base64"


class TaskMessage(BaseModel):
    """An element of the lists ``screening`` and ``screening.bulk``."""

    model_config = ConfigDict(extra="allow", strict=True, populate_by_name=True)

    body: Annotated[
        str,
        Field(
            description="Base64 of the UTF-8 JSON text [[job], {}, {}], the job as its schema says.",
            json_schema_extra={"contentEncoding": "base64", "contentMediaType": "application/json"},
        ),
    ]
    content_type: Annotated[Literal["application/json"], Field(alias="content-type")] = "application/json"
    content_encoding: Annotated[Literal["utf-8"], Field(alias="content-encoding")] = "utf-8"
    headers: MessageHeaders
    properties: MessageProperties


def task_message(job: dict[str, Any], *, task_id: str, queue: str = QUEUE_INTERACTIVE) -> str:
    """Return a job as an element of a queue, as JSON text.

    Args:
        job: As ``schemas.job.Job``; not validated.
        task_id: Unique per message.
        queue: The list it will be pushed to.
    """
    body = json.dumps([[job], {}, {}], ensure_ascii=False, separators=(",", ":"))
    message = TaskMessage(
        body=base64.b64encode(body.encode()).decode("ascii"),
        headers=MessageHeaders(id=task_id, root_id=task_id),
        properties=MessageProperties(
            correlation_id=task_id, delivery_tag=str(uuid.uuid4()), delivery_info=DeliveryInfo(routing_key=queue)
        ),
    )
    return message.model_dump_json(by_alias=True)
