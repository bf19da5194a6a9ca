"""Deliveries in a real Redis: made with the alarm, claimed once at a time, never forgotten."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from redis import Redis

from schemas.alarm import Alarm
from schemas.result import ItemResult
from tests.integration.test_publish_script import clean, flagged
from worker.errors import TopicError
from worker.topic import publisher as publisher_module
from worker.topic.publisher import RedisPublisher, TopicLimits
from worker.webhooks.deliveries import dead_messages, deliveries
from worker.webhooks.endpoints import EndpointStore, endpoint_of
from worker.webhooks.metrics import figures
from worker.webhooks.schedule import MAX_AGE_S, Message, Nudge, Schedule, Settlement

W = "firewall:webhooks:"
OK = Settlement("delivered", "200", took_ms=3)
FAILED = Settlement("retry", "500", delay_ms=5000)


class Stage:
    """A publisher, endpoints, and the schedule between them; time passes by moving what is due."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis
        self.publisher = RedisPublisher(redis, TopicLimits())
        self.schedule = Schedule(redis, lease_s=30)
        self.store = EndpointStore(redis, self.schedule)

    def add(self, name: str = "soc", **fields: Any) -> str:
        self.store.add(endpoint_of({"id": name, "url": "https://soc.example/", **fields}))
        return name

    def publish(self, *names: str, **fields: Any) -> None:
        self.publisher.publish([_with(flagged(name), fields) for name in names])

    def claim(self, name: str = "soc") -> Message | None:
        return self.schedule.claim(Nudge(name, "task"))

    def must_claim(self, name: str = "soc") -> Message:
        message = self.claim(name)
        assert message is not None
        return message

    def settle(self, message: Message, end: Settlement, name: str = "soc") -> None:
        self.schedule.settle(Nudge(name, "task"), message, end, claim_next=False)

    def make_due(self, name: str = "soc", kind: str = "due") -> None:
        for message in self.redis.zrange(f"{W}{kind}:{name}", 0, -1):
            self.redis.zadd(f"{W}{kind}:{name}", {message: 1})
        self.redis.hdel(f"{W}state:{name}", "hold", "next_send")
        self.schedule.refresh(name)

    def turn_at(self, name: str = "soc") -> float | None:
        """Seconds from now until the endpoint's turn."""
        at = self.redis.zscore(f"{W}turns", name)
        return None if at is None else at / 1000 - time.time()

    def kept_events(self) -> int:
        assert self.redis.hlen(f"{W}events") == self.redis.hlen(f"{W}uses")
        return int(self.redis.hlen(f"{W}events"))


def _with(outcome: tuple[ItemResult, Alarm | None], fields: dict[str, Any]) -> tuple[ItemResult, Alarm | None]:
    result, alarm = outcome
    assert alarm is not None
    return result, Alarm.model_validate({**alarm.model_dump(), **fields})


@pytest.fixture
def stage(own_redis: Redis, monkeypatch: pytest.MonkeyPatch) -> Stage:
    monkeypatch.setattr(publisher_module, "RETRY_DELAYS_S", (0.0,))
    return Stage(own_redis)


def alarm_ids(message: Message) -> list[str]:
    return [json.loads(event)["data"]["item_id"] for event in message.events]


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


def test_failures_are_counted_until_a_success(stage: Stage) -> None:
    stage.add()
    stage.publish(*"abc")
    for expected in (0, 1):
        message = stage.must_claim()
        assert message.failures == expected
        stage.settle(message, FAILED)
    stage.settle(stage.must_claim(), OK)
    stage.make_due()
    assert stage.must_claim().failures == 0


def test_a_success_ends_a_message_and_is_remembered(stage: Stage) -> None:
    stage.add()
    stage.publish("x")
    message = stage.must_claim()
    stage.settle(message, FAILED)
    stage.make_due()
    stage.settle(stage.must_claim(), OK)
    (seen,) = deliveries(stage.redis, "soc")
    assert (seen.message, seen.state, seen.attempts, seen.codes) == (message.id, "delivered", 2, "500, 200")
    assert stage.kept_events() == 0
    assert stage.redis.keys(f"{W}message:*") == []
    assert stage.turn_at() is None


def test_410_disables_and_keeps_what_waits(stage: Stage) -> None:
    stage.add()
    stage.publish("x", "y")
    stage.settle(stage.must_claim(), Settlement("gone", "410"))
    assert stage.store.disabled() == {"soc": "410 Gone"}
    assert stage.claim() is None
    assert stage.turn_at() is None
    stage.publish("new")
    assert stage.redis.zcard(f"{W}due:soc") == 2, "nothing new is kept for it"
    stage.store.enable("soc")
    assert stage.turn_at() is not None
    assert stage.claim() is not None


def test_an_exhausted_message_can_be_replayed_with_its_id(stage: Stage) -> None:
    stage.add()
    stage.publish("x")
    message = stage.must_claim()
    stage.settle(message, Settlement("dead", "500"))
    assert stage.claim() is None
    (shown,) = deliveries(stage.redis, "soc", failed=True)
    assert (shown.message, shown.state, shown.reason, shown.codes) == (message.id, "dead", "exhausted", "500")
    assert dead_messages(stage.redis, "soc") == [message.id]
    assert stage.schedule.replay("soc", message.id)
    assert not stage.schedule.replay("soc", message.id)
    again = stage.must_claim()
    assert (again.id, again.attempt, again.events) == (message.id, 1, message.events)
    stage.settle(again, OK)
    assert stage.kept_events() == 0


def test_what_waited_for_days_is_given_up(stage: Stage) -> None:
    stage.add()
    stage.publish("old", "new")
    old = stage.must_claim()
    stage.settle(old, FAILED)
    stage.redis.hset(f"{W}message:{old.id}", "created", round(1000 * (time.time() - MAX_AGE_S - 1)))
    stage.make_due()
    fresh = stage.must_claim()
    assert alarm_ids(fresh) == ["new"]
    stage.settle(fresh, OK)
    assert stage.claim() is None
    (dead,) = deliveries(stage.redis, "soc", failed=True)
    assert (dead.message, dead.reason) == (old.id, "too old")


def test_a_full_backlog_goes_to_the_dead_letters_and_not_to_memory(stage: Stage) -> None:
    stage.add(backlog=3)
    stage.publish(*"abcde")
    assert stage.redis.zcard(f"{W}due:soc") == 3
    found = deliveries(stage.redis, "soc", failed=True)
    assert [(one.state, one.reason) for one in found] == [("dead", "backlog full")] * 2


def test_the_dead_letter_list_is_bounded(stage: Stage) -> None:
    stage.add(backlog=1)
    for start in range(0, 10_100, 100):
        stage.publish(*(f"i{n}" for n in range(start, start + 100)))
    assert stage.redis.zcard(f"{W}dead:soc") == 10_000
    assert stage.kept_events() == 10_001


def test_a_digest_gathers_what_comes_between_requests(stage: Stage) -> None:
    stage.add(digest_s=60, digest_max=3)
    stage.publish("a")
    first = stage.must_claim()
    assert alarm_ids(first) == ["a"]
    stage.settle(first, OK)
    stage.publish(*"bcdef")
    assert stage.claim() is None, "at most one request in 60 s"
    assert 58 < (stage.turn_at() or 0) < 61
    stage.make_due()
    second = stage.must_claim()
    assert (alarm_ids(second), second.waiting) == (["b", "c", "d"], 2)
    assert second.id != first.id


def test_a_digest_that_failed_comes_again_whole(stage: Stage) -> None:
    stage.add(digest_s=60)
    stage.publish(*"abc")
    first = stage.must_claim()
    stage.publish("later")
    stage.settle(first, FAILED)
    stage.make_due()
    again = stage.must_claim()
    assert (again.id, again.events) == (first.id, first.events)
    stage.settle(again, OK)
    stage.make_due()
    assert alarm_ids(stage.must_claim()) == ["later"]


def test_a_wave_is_few_requests(stage: Stage) -> None:
    stage.add(digest_s=10, digest_max=100)
    for start in range(0, 1000, 100):
        stage.publish(*(f"i{n}" for n in range(start, start + 100)))
    requests, seen = 0, set()
    while (message := stage.claim()) is not None:
        requests += 1
        seen.update(alarm_ids(message))
        stage.settle(message, OK)
        stage.make_due()
    assert (requests, len(seen)) == (10, 1000)


def test_a_rate_spaces_requests(stage: Stage) -> None:
    stage.add(rate=0.5)
    stage.publish("a", "b")
    stage.settle(stage.must_claim(), OK)
    assert stage.claim() is None
    assert 1 < (stage.turn_at() or 0) < 2.1


def test_a_removed_endpoint_leaves_nothing(stage: Stage) -> None:
    stage.add()
    stage.add("other", digest_s=60)
    stage.publish(*(f"i{n}" for n in range(250)))
    stage.settle(stage.must_claim(), Settlement("dead", "500"))
    stage.claim("other")
    stage.publish("more")
    stage.store.remove("soc")
    stage.store.remove("other")
    assert set(stage.redis.keys(f"{W}*")) <= {f"{W}wake"}
    stage.publish("after")
    assert set(stage.redis.keys(f"{W}*")) <= {f"{W}wake"}


def test_settling_what_was_removed_meanwhile_is_harmless(stage: Stage) -> None:
    stage.add()
    stage.publish("x")
    message = stage.must_claim()
    stage.store.remove("soc")
    assert stage.schedule.settle(Nudge("soc", "task"), message, FAILED, claim_next=True) is None
    assert set(stage.redis.keys(f"{W}*")) <= {f"{W}wake"}


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


def test_figures_say_how_old_the_oldest_due_delivery_is(stage: Stage) -> None:
    stage.add()
    stage.add("idle", signals=["obfuscation"])
    stage.publish("x", "y")
    stage.settle(stage.must_claim(), FAILED)
    (message,) = stage.redis.zrangebyscore(f"{W}due:soc", 0, time.time() * 1000)
    stage.redis.zadd(f"{W}due:soc", {message: round(1000 * (time.time() - 90))})
    idle, soc = figures(stage.redis)
    assert 89 < soc.oldest_due_s < 95
    assert (soc.waiting, soc.count("attempts"), soc.count("failures"), soc.disabled) == (2, 1, 1, None)
    assert (idle.waiting, idle.oldest_due_s, idle.count("attempts")) == (0, 0, 0)


def test_secrets_rotate_with_a_grace(stage: Stage) -> None:
    first = stage.store.add(endpoint_of({"id": "soc", "url": "https://soc.example/"}))
    second = stage.store.rotate("soc")
    third = stage.store.rotate("soc", grace_s=3600)
    assert stage.store.keys("soc").valid() == [third, second]
    fourth = stage.store.rotate("soc", grace_s=0)
    assert stage.store.keys("soc").valid() == [fourth]
    assert len({first, second, third, fourth}) == 4
