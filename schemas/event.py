"""The envelope of everything on the result topic: CloudEvents 1.0, structured JSON mode."""

from datetime import UTC, datetime
from typing import Annotated, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from schemas.alarm import Alarm
from schemas.dead_letter import DeadLetter
from schemas.drift import Drift
from schemas.names import EVENT_ALARM, EVENT_DEAD_LETTER, EVENT_DRIFT, EVENT_RESULT
from schemas.result import ItemResult

Data = TypeVar("Data", bound=BaseModel)

EVENT_SOURCE = "/alknet-firewall"
"""CloudEvents wants source and id together to be unique: a result and its alarm share the id, not the source."""


def utc_now() -> str:
    """Return the current time as RFC 3339 text with milliseconds, as CloudEvents wants it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class CloudEvent(BaseModel, Generic[Data]):
    """A CloudEvents 1.0 event (specification section 3.1, JSON event format section 3)."""

    model_config = ConfigDict(extra="forbid", strict=True)

    specversion: Literal["1.0"] = "1.0"
    id: Annotated[str, Field(description="The deduplication key: equal ids are the same event.")]
    source: str = EVENT_SOURCE
    type: str
    subject: Annotated[str | None, Field(description="The job id.")] = None
    time: str = Field(default_factory=utc_now)
    datacontenttype: Literal["application/json"] = "application/json"
    data: Data


class ResultEvent(CloudEvent[ItemResult]):
    """An entry of ``firewall:results``."""

    source: str = f"{EVENT_SOURCE}/results"
    type: Literal["alknet.firewall.result.v1"] = EVENT_RESULT


class AlarmEvent(CloudEvent[Alarm]):
    """An entry of ``firewall:alarms``."""

    source: str = f"{EVENT_SOURCE}/alarms"
    type: Literal["alknet.firewall.alarm.v1"] = EVENT_ALARM


class DeadLetterEvent(CloudEvent[DeadLetter]):
    """An entry of ``firewall:dead``."""

    source: str = f"{EVENT_SOURCE}/dead"
    type: Literal["alknet.firewall.dead_letter.v1"] = EVENT_DEAD_LETTER


class DriftEvent(CloudEvent[Drift]):
    """An entry of ``firewall:drift``."""

    source: str = f"{EVENT_SOURCE}/drift"
    type: Literal["alknet.firewall.drift.v1"] = EVENT_DRIFT
    subject: Annotated[str | None, Field(description="The policy.")] = None
