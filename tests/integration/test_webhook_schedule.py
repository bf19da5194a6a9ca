"""Deliveries in a real Redis: made with the alarm, claimed once at a time, never forgotten."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.integration.test_publish_script import clean, flagged
from tests.integration.webhook_stage import FAILED, OK, Stage, W, alarm_ids
from worker.errors import TopicError
from worker.webhooks.deliveries import dead_messages
from worker.webhooks.schedule import Nudge, Schedule, Settlement


def test_an_alarm_has_a_delivery_for_every_endpoint_that_wants_it(stage: Stage) -> None:
    names = [stage.add(name) for name in ("a", "b", "c")]
    stage.publisher.publish([flagged("x"), clean("y")])
    ids = {stage.must_claim(name).id for name in names}
    assert len(ids) == 3
    assert stage.kept_events() == 1


def test_the_delivery_is_the_published_event(stage: Stage) -> None:
    stage.add()
    stage.publish("x")
    ((_, fields),) = stage.redis.xrange("firewall:alarms")
    assert stage.must_claim().events == (fields["event"],)


def test_without_endpoints_nothing_is_kept(stage: Stage) -> None:
    stage.publish("x")
    assert stage.redis.keys(f"{W}*") == []


@pytest.mark.parametrize(
    ("wanted", "alarm", "delivered"),
    [
        ({"min_severity": "critical"}, {"severity": "critical"}, True),
        ({"min_severity": "critical"}, {"severity": "warning"}, False),
        ({"min_severity": "warning"}, {"severity": "notice"}, False),
        ({"signals": ["jailbreak", "obfuscation"]}, {"signal": "obfuscation"}, True),
        ({"signals": ["obfuscation"]}, {"signal": "jailbreak"}, False),
        ({"sources": ["web"]}, {"source": "web"}, True),
        ({"sources": ["web"]}, {"source": "chat"}, False),
        ({"tenants": ["acme"]}, {"tenant": "acme"}, True),
        ({"tenants": ["acme"]}, {"tenant": "other"}, False),
        ({"tenants": ["acme"]}, {"tenant": None}, False),
        ({}, {"tenant": "acme"}, True),
    ],
)
def test_filters(stage: Stage, wanted: dict[str, Any], alarm: dict[str, Any], delivered: bool) -> None:
    stage.add(**wanted)
    stage.publish("x", **alarm)
    assert (stage.claim() is not None) is delivered


def test_publishing_again_makes_no_second_delivery(stage: Stage) -> None:
    stage.add()
    stage.publish("x")
    stage.publish("x")
    stage.redis.delete(*stage.redis.keys("firewall:published:*"))
    stage.publish("x")
    assert stage.redis.zcard(f"{W}due:soc") == 1
    assert stage.kept_events() == 1
    stage.settle(stage.must_claim(), OK)
    assert stage.kept_events() == 0


@pytest.mark.parametrize("step", ["events", "uses", "due:soc", "turns"])
def test_an_alarm_whose_delivery_could_not_be_written_gets_it_with_the_next_try(stage: Stage, step: str) -> None:
    """Redis fails within the script, at each of its steps in turn."""
    stage.add()
    stage.redis.set(f"{W}{step}", "of another type")
    with pytest.raises(TopicError):
        stage.publish("x")
    stage.redis.delete(f"{W}{step}")
    stage.publish("x")
    assert [nudge.endpoint_id for nudge in stage.schedule.due()[0]] == ["soc"]
    assert alarm_ids(stage.must_claim()) == ["x"]


GOOD = {"min_severity": "notice", "parallel": 4, "backlog": 9, "digest_max": 9}


@pytest.mark.parametrize(
    "garbage",
    [
        *("{", "[]", '"x"', "null", "7", "{}"),
        *(json.dumps({**GOOD, "min_severity": wrong}) for wrong in ("high", None, 1, [])),
        *(json.dumps({**GOOD, name: "x"}) for name in ("parallel", "backlog", "digest_max", "digest_s", "rate")),
        *(json.dumps({**GOOD, name: "x"}) for name in ("signals", "sources", "tenants")),
    ],
)
def test_a_broken_configuration_keeps_no_alarm_from_being_published(stage: Stage, garbage: str) -> None:
    stage.add()
    stage.redis.hset(f"{W}endpoints", "broken", garbage)
    stage.publish("x")
    assert stage.redis.xlen("firewall:alarms") == 1
    assert stage.claim() is not None
    assert stage.claim("broken") is None


def test_a_message_is_claimed_by_one(stage: Stage) -> None:
    stage.add()
    stage.publish("x")
    assert stage.claim() is not None
    assert stage.claim() is None


def test_a_lease_that_ends_gives_the_message_again_with_its_id(stage: Stage) -> None:
    """A worker was killed between its request and the record of it."""
    stage.add()
    stage.publish("x")
    first = stage.must_claim()
    assert 29 < (stage.turn_at() or 0) < 31, "somebody looks when the lease ends"
    stage.make_due(kind="leases")
    second = stage.must_claim()
    assert (second.id, second.events) == (first.id, first.events)
    assert (first.attempt, second.attempt) == (1, 2)


def test_of_two_workers_that_sent_a_message_the_late_failure_does_not_count(stage: Stage) -> None:
    stage.add()
    stage.publish("x")
    first = stage.must_claim()
    stage.make_due(kind="leases")
    second = stage.must_claim()
    stage.settle(first, FAILED)
    assert stage.redis.zcard(f"{W}leases:soc") == 1
    stage.settle(second, OK)
    assert stage.kept_events() == 0


def test_of_two_workers_that_sent_a_message_the_late_success_ends_it(stage: Stage) -> None:
    stage.add()
    stage.publish("x")
    first = stage.must_claim()
    stage.make_due(kind="leases")
    second = stage.must_claim()
    stage.settle(first, OK)
    stage.settle(second, FAILED)
    assert stage.kept_events() == 0
    assert stage.turn_at() is None


def test_a_late_failure_of_what_was_given_up_does_not_bring_it_back(stage: Stage) -> None:
    stage.add()
    stage.publish("x")
    message = stage.must_claim()
    stage.redis.hset(f"{W}message:{message.id}", "created", 1)
    stage.make_due(kind="leases")
    assert stage.claim() is None, "too old"
    stage.settle(message, FAILED)
    assert stage.redis.zcard(f"{W}due:soc") == 0
    assert dead_messages(stage.redis, "soc") == [message.id]


def test_a_failure_waits_for_its_next_attempt(stage: Stage) -> None:
    stage.add()
    stage.publish("x")
    stage.settle(stage.must_claim(), FAILED)
    assert stage.claim() is None
    assert 4 < (stage.turn_at() or 0) < 6
    stage.make_due()
    assert stage.must_claim().attempt == 2


def test_a_hold_keeps_everything_back_until_it_ends(stage: Stage) -> None:
    stage.add()
    stage.publish("x", "y", "z")
    stage.settle(stage.must_claim(), Settlement("retry", "429", delay_ms=5000, hold_ms=60_000))
    assert stage.claim() is None
    stage.publish("new")
    assert stage.claim() is None
    assert 58 < (stage.turn_at() or 0) < 61
    stage.make_due()
    assert stage.claim() is not None


def test_an_endpoint_gets_one_request_at_a_time_until_it_has_answered_well(stage: Stage) -> None:
    stage.add(parallel=3)
    stage.publish(*"abcdefgh")
    first = stage.must_claim()
    assert stage.claim() is None
    stage.settle(first, OK)
    held = [stage.must_claim() for _ in range(3)]
    assert stage.claim() is None
    stage.settle(held[0], FAILED)
    assert stage.claim() is None, "one failed: one at a time again"
    stage.settle(held[1], OK)
    assert stage.claim() is not None


def nudges(schedule: Schedule) -> list[Nudge]:
    """All tasks that a dispatcher would send now."""
    found: list[Nudge] = []
    while more := schedule.due()[0]:
        found += more
    return found


def test_a_task_is_sent_by_one_dispatcher(stage: Stage) -> None:
    stage.add()
    stage.publish("x")
    assert [nudge.endpoint_id for nudge in nudges(stage.schedule)] == ["soc"]
    more, wait_s = Schedule(stage.redis).due()
    assert more == []
    assert 0 < wait_s <= 30, "and sent again if it is lost"


def test_a_lost_task_is_sent_again(stage: Stage) -> None:
    stage.add()
    stage.publish("x")
    (lost,) = nudges(stage.schedule)
    stage.make_due(kind="nudges")
    (again,) = nudges(stage.schedule)
    assert again.name != lost.name
    assert stage.schedule.claim(again) is not None


def test_no_more_tasks_are_sent_than_there_is_work_and_room_for(stage: Stage) -> None:
    stage.add(parallel=3)
    stage.publish(*"abcdefgh")
    (first,) = nudges(stage.schedule)
    message = stage.schedule.claim(first)
    assert message is not None
    stage.publish("more")
    assert nudges(stage.schedule) == [], "it has not answered well yet"
    message = stage.schedule.settle(first, message, OK, claim_next=True)
    assert message is not None
    others = nudges(stage.schedule)
    assert len(others) == 2
    held = [stage.schedule.claim(nudge) for nudge in others]
    assert all(held)
    assert nudges(stage.schedule) == []
    assert stage.schedule.settle(first, message, OK, claim_next=False) is None
    assert len(nudges(stage.schedule)) == 1, "a task that ended leaves room for one"


def test_one_alarm_is_one_task(stage: Stage) -> None:
    stage.add(parallel=4)
    stage.publish("x")
    (nudge,) = nudges(stage.schedule)
    message = stage.schedule.claim(nudge)
    assert message is not None
    stage.schedule.settle(nudge, message, OK, claim_next=True)
    stage.publish("y")
    (second,) = nudges(stage.schedule)
    stage.publish("z")
    assert len(nudges(stage.schedule)) == 1
    assert stage.schedule.claim(second) is not None


def test_a_task_with_nothing_to_do_leaves_no_trace(stage: Stage) -> None:
    stage.add()
    stage.publish("x")
    (nudge,) = nudges(stage.schedule)
    stage.store.disable("soc", "for a while")
    assert stage.schedule.claim(nudge) is None
    assert stage.redis.zcard(f"{W}nudges:soc") == 0
    stage.store.enable("soc")
    assert len(nudges(stage.schedule)) == 1


def enable(stage: Stage) -> None:
    stage.store.enable("disabled")


@pytest.mark.parametrize("wake", [lambda stage: stage.publish("y"), enable], ids=["alarm", "enabled"])
def test_a_waiting_dispatcher_is_woken(stage: Stage, wake: Callable[[Stage], None]) -> None:
    stage.add("disabled", min_severity="notice")
    stage.publish("x")
    stage.store.disable("disabled", "for a while")
    stage.add("soc")
    assert stage.schedule.due()[0] == []
    wake(stage)
    begun = time.monotonic()
    stage.schedule.wait(12)
    assert time.monotonic() - begun < 10
