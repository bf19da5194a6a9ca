"""What a webhook receiver gets besides the alarm itself: digests and pings."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from schemas.event import EVENT_SOURCE, CloudEvent
from schemas.job import Source
from schemas.names import EVENT_ALARM_DIGEST, EVENT_PING
from schemas.signal import Probability, Severity, Signal

WebhookFormat = Literal["cloudevents", "slack", "pagerduty"]
"""Shape of a request's body.

``cloudevents``: the alarm as it lies on ``firewall:alarms``, or a digest. ``slack``: an incoming-webhook
message. ``pagerduty``: an event of the Events API v2.
"""

MAX_BODY_BYTES = 20_000
"""Bytes of a request's body; the Standard Webhooks specification asks for payloads under 20 kB."""

MAX_DIGEST_ALARMS = 100
"""Alarms in one digest."""


class AlarmSummary(BaseModel):
    """An alarm in one line of a digest. The whole alarm lies on ``firewall:alarms`` under the same id."""

    model_config = ConfigDict(extra="forbid", strict=True)

    alarm_id: str
    severity: Severity
    signal: Signal
    p_value: Probability
    source: Source = "other"
    tenant: str | None = None
    job_id: Annotated[str | None, Field(description="Null where the digest would be too large with it.")] = None
    item_id: Annotated[str | None, Field(description="Null where the digest would be too large with it.")] = None


class AlarmDigest(BaseModel):
    """Several alarms in one request, for endpoints that ask for at most one request in so many seconds."""

    model_config = ConfigDict(extra="forbid", strict=True)

    schema_version: Literal[1] = 1
    count: Annotated[int, Field(ge=1, description="Alarms in this digest.")]
    waiting: Annotated[int, Field(ge=0, description="Further alarms that waited when this digest was made.")] = 0
    worst: Severity
    by_severity: dict[Severity, int]
    by_signal: dict[Signal, int]
    alarms: Annotated[list[AlarmSummary], Field(min_length=1, max_length=MAX_DIGEST_ALARMS)]


class Ping(BaseModel):
    """A try-out without an alarm, sent by ``alknet-firewall webhooks test``."""

    model_config = ConfigDict(extra="forbid", strict=True)

    schema_version: Literal[1] = 1
    endpoint: Annotated[str, Field(description="Id of the endpoint that is tried.")]


class AlarmDigestEvent(CloudEvent[AlarmDigest]):
    """The body for endpoints with a digest. Its id is the header ``webhook-id``."""

    source: str = f"{EVENT_SOURCE}/alarms"
    type: Literal["alknet.firewall.alarm_digest.v1"] = EVENT_ALARM_DIGEST


class PingEvent(CloudEvent[Ping]):
    """The body of a ping."""

    source: str = f"{EVENT_SOURCE}/webhooks"
    type: Literal["alknet.firewall.ping.v1"] = EVENT_PING
