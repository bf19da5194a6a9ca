"""What receivers get: schema, size, and nothing by which an attacker's id could write to a chat."""

import json
from typing import Any

import jsonschema
import pytest

from schemas import AlarmDigestEvent, AlarmEvent, PingEvent
from schemas.export import json_schema
from schemas.signal import SIGNALS, EvidenceSpan, SignalScore
from schemas.webhook import MAX_BODY_BYTES, MAX_DIGEST_ALARMS
from tests.unit.worker.webhooks.alarms import alarm_event, message_of
from worker.webhooks.endpoints import Endpoint, endpoint_of
from worker.webhooks.formats import ping, render

FORMATS = ("cloudevents", "slack", "pagerduty")
LONG = "\U0001f600" * 256
"""The longest id, in the most bytes."""


def endpoint(**fields: Any) -> Endpoint:
    return endpoint_of({"url": "https://soc.example/hook", **fields})


def largest() -> AlarmEvent:
    spans = [
        EvidenceSpan(signal=signal, start=n, end=n + 500, weight=0.1, excerpt=LONG * 2)
        for n, signal in enumerate(SIGNALS * 8)
    ]
    return alarm_event(
        "x" * 36,
        job_id="j" * 256,
        item_id=LONG,
        tenant="t" * 64,
        evidence=spans,
        signals=[SignalScore(signal=signal, score=1.0, p_value=0.1) for signal in SIGNALS],
        metadata={f"key{n}": "é" * 120 for n in range(32)},
    )


def test_an_alarm_goes_as_it_lies_on_the_topic() -> None:
    event = alarm_event()
    body = render(endpoint(), message_of(event))
    assert body == event.model_dump_json()
    jsonschema.validate(json.loads(body), json_schema("alarm-event"))


def test_every_attempt_sends_the_same_bytes() -> None:
    for chosen in ({}, {"digest_s": 60}, {"format": "slack"}):
        message = message_of(alarm_event("a"), *([alarm_event("b")] if "digest_s" in chosen else []))
        assert render(endpoint(**chosen), message) == render(endpoint(**chosen), message)


def test_a_digest_counts_and_names_its_alarms() -> None:
    events = [alarm_event("a"), alarm_event("b", severity="critical", signal="obfuscation"), alarm_event("c")]
    body = render(endpoint(digest_s=60), message_of(*events, waiting=7))
    jsonschema.validate(json.loads(body), json_schema("alarm-digest-event"))
    digest = AlarmDigestEvent.model_validate_json(body).data
    assert (digest.count, digest.waiting, digest.worst) == (3, 7, "critical")
    assert digest.by_severity == {"warning": 2, "critical": 1}
    assert digest.by_signal == {"jailbreak": 2, "obfuscation": 1}
    assert [alarm.alarm_id for alarm in digest.alarms] == ["a", "b", "c"]


def test_a_digest_of_one_is_a_digest() -> None:
    body = render(endpoint(digest_s=60), message_of(alarm_event()))
    assert AlarmDigestEvent.model_validate_json(body).data.count == 1


@pytest.mark.parametrize("chosen", FORMATS)
@pytest.mark.parametrize("count", [1, MAX_DIGEST_ALARMS])
def test_the_largest_bodies_stay_within_the_limit(chosen: str, count: int) -> None:
    found = endpoint(format=chosen, **({} if count == 1 else {"digest_s": 60, "digest_max": MAX_DIGEST_ALARMS}))
    body = render(found, message_of(*[largest()] * count), "k" * 32)
    assert len(body.encode()) <= MAX_BODY_BYTES
    json.loads(body)


def test_a_large_alarm_loses_excerpts_before_anything_else() -> None:
    spans = [EvidenceSpan(signal="jailbreak", start=n, end=n + 9, weight=0.5, excerpt="x" * 9000) for n in range(3)]
    event = alarm_event(evidence=spans, metadata={"turn": 3})
    sent = AlarmEvent.model_validate_json(render(endpoint(), message_of(event))).data
    assert [(span.start, span.excerpt) for span in sent.evidence] == [(0, None), (1, None), (2, None)]
    assert sent.metadata == {"turn": 3}


def test_ids_cannot_write_slack_markup() -> None:
    hostile = alarm_event(item_id="<!channel> `x` <https://evil.example|click> & *b*", tenant="acme")
    body = json.loads(render(endpoint(format="slack"), message_of(hostile)))
    text = body["blocks"][1]["text"]["text"]
    assert "<" not in text
    assert ">" not in text
    assert "`&lt;!channel&gt; 'x' &lt;https://evil.example|click&gt; &amp; *b*`" in text
    assert body["text"] == "warning: jailbreak"


def test_slack_names_some_alarms_of_a_wave_and_counts_the_rest() -> None:
    body = json.loads(
        render(
            endpoint(format="slack", digest_s=60),
            message_of(*(alarm_event(str(n)) for n in range(50)), waiting=950),
        )
    )
    assert body["text"] == "50 alarms, worst warning: jailbreak"
    assert body["blocks"][1]["text"]["text"].endswith("… and 990 more")
    assert len(body["blocks"][1]["text"]["text"]) <= 3000, "Slack's limit of a section"


def test_pagerduty_events_have_what_its_api_wants() -> None:
    body = json.loads(render(endpoint(format="pagerduty"), message_of(alarm_event("a", severity="notice")), "KEY"))
    assert (body["routing_key"], body["event_action"], body["dedup_key"]) == ("KEY", "trigger", "a")
    assert {"summary", "source", "severity"} <= body["payload"].keys()
    assert body["payload"]["severity"] == "info"
    assert body["payload"]["summary"] == "notice: jailbreak"


@pytest.mark.parametrize(("severity", "theirs"), [("warning", "warning"), ("critical", "critical")])
def test_severities_are_translated_for_pagerduty(severity: str, theirs: str) -> None:
    body = json.loads(render(endpoint(format="pagerduty"), message_of(alarm_event(severity=severity)), "KEY"))
    assert body["payload"]["severity"] == theirs


@pytest.mark.parametrize("chosen", ["slack", "pagerduty"])
def test_excerpts_of_screened_text_do_not_leave_for_chats_and_pagers(chosen: str) -> None:
    span = EvidenceSpan(signal="jailbreak", start=0, end=9, weight=1.0, excerpt="XQZMARKER")
    assert "XQZMARKER" not in render(endpoint(format=chosen), message_of(alarm_event(evidence=[span])), "KEY")


def test_pings() -> None:
    assert PingEvent.model_validate_json(ping(endpoint(id="soc"), "msg_p")).data.endpoint == "soc"
    assert "soc" in json.loads(ping(endpoint(id="soc", format="slack"), "msg_p"))["text"]
    resolved = json.loads(ping(endpoint(format="pagerduty"), "msg_p", "KEY"))
    assert (resolved["event_action"], resolved["routing_key"]) == ("resolve", "KEY")
