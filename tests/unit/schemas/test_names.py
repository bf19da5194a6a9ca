"""Names that producers and consumers rely on, written out: changing one breaks them."""

import schemas
from schemas import limits, names
from worker import settings


def test_task_name() -> None:
    assert names.TASK_SCREEN == "alknet_firewall.screen"
    assert names.TASK_DELIVER == "alknet_firewall.deliver"


def test_queue_names() -> None:
    assert (names.QUEUE_INTERACTIVE, names.QUEUE_BULK) == ("screening", "screening.bulk")
    assert names.QUEUE_WEBHOOKS == "webhooks"


def test_stream_names() -> None:
    streams = (names.STREAM_RESULTS, names.STREAM_ALARMS, names.STREAM_DEAD, names.STREAM_DRIFT)
    assert streams == ("firewall:results", "firewall:alarms", "firewall:dead", "firewall:drift")


def test_event_types() -> None:
    assert names.EVENT_RESULT == "alknet.firewall.result.v1"
    assert names.EVENT_ALARM == "alknet.firewall.alarm.v1"
    assert names.EVENT_DEAD_LETTER == "alknet.firewall.dead_letter.v1"
    assert names.EVENT_DRIFT == "alknet.firewall.drift.v1"
    assert names.EVENT_ALARM_DIGEST == "alknet.firewall.alarm_digest.v1"
    assert names.EVENT_PING == "alknet.firewall.ping.v1"


def test_stream_field() -> None:
    assert names.EVENT_FIELD == "event"


def test_settings_prefix() -> None:
    assert settings.PREFIX == "FIREWALL_"
    assert settings.Settings.model_config["env_prefix"] == "FIREWALL_"


def test_signals_and_severities() -> None:
    assert schemas.SIGNALS == (
        "instruction_override",
        "jailbreak",
        "prompt_extraction",
        "indirect_injection",
        "harmful_request",
        "obfuscation",
    )
    assert schemas.SEVERITIES == ("notice", "warning", "critical")


def test_limits() -> None:
    public = {name: value for name, value in vars(limits).items() if name.startswith("MAX_")}
    assert public == {
        "MAX_ITEMS_PER_JOB": 256,
        "MAX_ITEM_CHARACTERS": 262_144,
        "MAX_ITEM_TOKENS": 131_072,
        "MAX_JOB_BYTES": 8_388_608,
        "MAX_ID_CHARACTERS": 256,
        "MAX_MESSAGE_BYTES": 80 * 1024 * 1024,
        "MAX_METADATA_BYTES": 4096,
        "MAX_METADATA_KEYS": 32,
    }


def test_exported_names() -> None:
    assert schemas.__all__ == [
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


def test_every_exported_name_exists() -> None:
    assert [name for name in schemas.__all__ if not hasattr(schemas, name)] == []
