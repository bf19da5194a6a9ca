"""Alarm events as they lie on the topic."""

from typing import Any

from schemas.alarm import Alarm
from schemas.event import AlarmEvent
from schemas.signal import EvidenceSpan, SignalScore
from worker.webhooks.schedule import Message


def alarm_event(name: str = "a", **fields: Any) -> AlarmEvent:
    given = {
        "alarm_id": name,
        "job_id": "job",
        "item_id": name,
        "severity": "warning",
        "signal": "jailbreak",
        "p_value": 2e-4,
        "signals": [SignalScore(signal="jailbreak", score=7.0, p_value=2e-4)],
        "evidence": [EvidenceSpan(signal="jailbreak", start=0, end=9, weight=1.0)],
        "policy": "default",
        "codebook": "c0ffee",
    }
    alarm = Alarm.model_validate(given | fields)
    return AlarmEvent(id=name, subject=alarm.job_id, time="2026-11-22T12:00:00.000Z", data=alarm)


def message_of(*events: AlarmEvent, waiting: int = 0) -> Message:
    bodies = tuple(event.model_dump_json() for event in events)
    return Message("msg_1", 1, 1_795_000_000_000, 0, waiting, bodies)
