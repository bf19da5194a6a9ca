"""The wire contract of alknet-firewall: pydantic models only, nothing else of ours is imported."""

from schemas.alarm import Alarm
from schemas.dead_letter import DeadLetter
from schemas.drift import Drift
from schemas.event import AlarmEvent, CloudEvent, DeadLetterEvent, DriftEvent, ResultEvent
from schemas.job import Item, Job, JobHeader, Source
from schemas.result import ErrorInfo, ItemResult, result_id
from schemas.signal import SEVERITIES, SIGNALS, EvidenceSpan, Severity, Signal, SignalScore
from schemas.webhook import AlarmDigest, AlarmDigestEvent, AlarmSummary, Ping, PingEvent, WebhookFormat

__all__ = [
    "SEVERITIES",
    "SIGNALS",
    "Alarm",
    "AlarmDigest",
    "AlarmDigestEvent",
    "AlarmEvent",
    "AlarmSummary",
    "CloudEvent",
    "DeadLetter",
    "DeadLetterEvent",
    "Drift",
    "DriftEvent",
    "ErrorInfo",
    "EvidenceSpan",
    "Item",
    "ItemResult",
    "Job",
    "JobHeader",
    "Ping",
    "PingEvent",
    "ResultEvent",
    "Severity",
    "Signal",
    "SignalScore",
    "Source",
    "WebhookFormat",
    "result_id",
]
