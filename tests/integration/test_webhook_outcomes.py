"""What becomes of deliveries in a real Redis: delivered, held, given up, gathered, replayed, removed."""

import time

from tests.integration.webhook_stage import FAILED, OK, Stage, W, alarm_ids
from worker.webhooks.deliveries import dead_messages, deliveries
from worker.webhooks.endpoints import endpoint_of
from worker.webhooks.metrics import figures
from worker.webhooks.schedule import MAX_AGE_S, Nudge, Settlement


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
