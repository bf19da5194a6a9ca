"""Bodies of requests: CloudEvents, Slack messages, PagerDuty events. Pure; no text of an item is ever added.

A body depends on its message alone, so that every attempt sends the same bytes.
"""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from schemas.alarm import Alarm
from schemas.event import AlarmEvent
from schemas.signal import SEVERITIES
from schemas.webhook import MAX_BODY_BYTES, AlarmDigest, AlarmDigestEvent, AlarmSummary, Ping, PingEvent
from worker.webhooks.endpoints import Endpoint
from worker.webhooks.schedule import Message

CONTENT_TYPES = {
    "cloudevents": "application/cloudevents+json",
    "slack": "application/json",
    "pagerduty": "application/json",
}
PAGERDUTY_SEVERITY = {"notice": "info", "warning": "warning", "critical": "critical"}
SHOWN_LINES = 10
"""Alarms of a digest that a chat message names one by one."""


def render(endpoint: Endpoint, message: Message, routing_key: str | None = None) -> str:
    """Return the body of a message, at most ``MAX_BODY_BYTES`` long.

    Args:
        endpoint: Where it goes: its format, and whether it gets digests.
        message: Its events.
        routing_key: PagerDuty's.
    """
    events = [AlarmEvent.model_validate_json(event) for event in message.events]
    digest = digest_of(events, message) if endpoint.digest_s is not None or len(events) != 1 else None
    if endpoint.format == "slack":
        return _json(slack(events, digest))
    if endpoint.format == "pagerduty":
        return _json(pagerduty(events, digest, message.id, routing_key or ""))
    return _within_limit(digest) if digest else single(events[0])


def ping(endpoint: Endpoint, message_id: str, routing_key: str | None = None) -> str:
    """Return the body of a try-out."""
    if endpoint.format == "slack":
        return _json({"text": f"alknet-firewall: test of endpoint {endpoint.id}"})
    if endpoint.format == "pagerduty":
        # Resolving an incident that does not exist proves the routing key and wakes nobody up.
        return _json({"routing_key": routing_key, "event_action": "resolve", "dedup_key": message_id})
    return PingEvent(id=message_id, data=Ping(endpoint=endpoint.id)).model_dump_json()


def single(event: AlarmEvent) -> str:
    """Return an alarm event, with less in it if it would be too large: the whole one is on ``firewall:alarms``."""
    spans = event.data.evidence
    smaller: list[Callable[[], dict[str, Any]]] = [
        dict,
        lambda: {"evidence": [span.model_copy(update={"excerpt": None}) for span in spans]},
        lambda: {"evidence": [span.model_copy(update={"excerpt": None}) for span in spans[:10]]},
        lambda: {"evidence": [span.model_copy(update={"excerpt": None}) for span in spans[:10]], "metadata": {}},
    ]
    for less in smaller:
        body = event.model_copy(update={"data": event.data.model_copy(update=less())}).model_dump_json()
        if _fits(body):
            break
    return body


def digest_of(events: Sequence[AlarmEvent], message: Message) -> AlarmDigestEvent:
    """Return the alarms of a message as one event."""
    alarms = [event.data for event in events]
    digest = AlarmDigest(
        count=len(alarms),
        waiting=message.waiting,
        worst=_worst(alarms),
        by_severity=dict(Counter(alarm.severity for alarm in alarms)),
        by_signal=dict(Counter(alarm.signal for alarm in alarms)),
        alarms=[_summary(alarm) for alarm in alarms],
    )
    time = datetime.fromtimestamp(message.created_ms / 1000, UTC).isoformat(timespec="milliseconds")
    return AlarmDigestEvent(id=message.id, time=time.replace("+00:00", "Z"), data=digest)


def slack(events: Sequence[AlarmEvent], digest: AlarmDigestEvent | None) -> dict[str, Any]:
    """Return a message for a Slack incoming webhook."""
    alarms = [event.data for event in events]
    lines = [_slack_line(alarm) for alarm in alarms[:SHOWN_LINES]]
    more = len(alarms) - len(lines) + (digest.data.waiting if digest else 0)
    if more:
        lines.append(f"… and {more} more")
    title = _title(alarms)
    return {
        "text": title,
        "blocks": [
            {"type": "header", "text": {"type": "plain_text", "text": title}},
            {"type": "section", "text": {"type": "mrkdwn", "text": "\n".join(lines)}},
        ],
    }


def pagerduty(
    events: Sequence[AlarmEvent], digest: AlarmDigestEvent | None, message_id: str, routing_key: str
) -> dict[str, Any]:
    """Return a trigger of PagerDuty's Events API v2; a retry or duplicate joins the same incident."""
    alarms = [event.data for event in events]
    details: dict[str, Any] = (
        {"by_severity": digest.data.by_severity, "by_signal": digest.data.by_signal, "waiting": digest.data.waiting}
        if digest
        else {}
    )
    details["alarms"] = [_summary(alarm).model_dump() for alarm in alarms[:SHOWN_LINES]]
    return {
        "routing_key": routing_key,
        "event_action": "trigger",
        "dedup_key": alarms[0].alarm_id if digest is None else message_id,
        "payload": {
            "summary": _title(alarms),
            "source": "alknet-firewall",
            "severity": PAGERDUTY_SEVERITY[_worst(alarms)],
            "timestamp": events[0].time,
            "component": alarms[0].source,
            "class": alarms[0].signal,
            "custom_details": details,
        },
    }


def _worst(alarms: Sequence[Alarm]) -> Any:
    return max((alarm.severity for alarm in alarms), key=SEVERITIES.index)


def _title(alarms: Sequence[Alarm]) -> str:
    worst = _worst(alarms)
    signals = ", ".join(sorted({alarm.signal for alarm in alarms}))
    return f"{worst}: {signals}" if len(alarms) == 1 else f"{len(alarms)} alarms, worst {worst}: {signals}"


def _summary(alarm: Alarm) -> AlarmSummary:
    return AlarmSummary.model_validate({name: getattr(alarm, name) for name in AlarmSummary.model_fields})


def _slack_line(alarm: Alarm) -> str:
    about = f"*{alarm.severity}* {alarm.signal}  p={alarm.p_value:.1e}  {alarm.source}"
    tenant = f"  tenant {_escaped(alarm.tenant)}" if alarm.tenant else ""
    return f"{about}{tenant}  job `{_escaped(alarm.job_id)}` item `{_escaped(alarm.item_id)}`"


def _escaped(text: str) -> str:
    """Return an id from outside so that it can neither link, mention a channel, nor leave its code span."""
    kept = "".join(character for character in text[:80] if character.isprintable()).replace("`", "'")
    return kept.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _within_limit(event: AlarmDigestEvent) -> str:
    body = event.model_dump_json()
    if _fits(body):
        return body
    short = [alarm.model_copy(update={"job_id": None, "item_id": None, "tenant": None}) for alarm in event.data.alarms]
    return event.model_copy(update={"data": event.data.model_copy(update={"alarms": short})}).model_dump_json()


def _fits(body: str) -> bool:
    return len(body.encode()) <= MAX_BODY_BYTES


def _json(body: dict[str, Any]) -> str:
    return json.dumps(body, ensure_ascii=False)
