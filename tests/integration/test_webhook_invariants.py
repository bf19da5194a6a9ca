"""Whatever happens in whatever order, no delivery is lost, none is in two places, and somebody looks after each."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from redis import Redis

from tests.integration.test_publish_script import flagged
from worker.topic.publisher import RedisPublisher, TopicLimits
from worker.topic.server import running_redis
from worker.webhooks.endpoints import EndpointStore, endpoint_of
from worker.webhooks.schedule import Message, Nudge, Schedule, Settlement

pytestmark = pytest.mark.integration

W = "firewall:webhooks:"
ENDPOINTS: dict[str, dict[str, Any]] = {
    "plain": {"parallel": 2},
    "digest": {"digest_s": 60, "digest_max": 3},
    "small": {"backlog": 2, "parallel": 3},
}
names = st.sampled_from(sorted(ENDPOINTS))


class Deliveries(RuleBasedStateMachine):
    """Alarms are published, tasks come and die, time jumps; a model remembers what must be where."""

    redis: Redis

    def __init__(self) -> None:
        super().__init__()
        self.redis.flushdb()
        self.publisher = RedisPublisher(self.redis, TopicLimits())
        self.schedule = Schedule(self.redis, lease_s=30)
        self.store = EndpointStore(self.redis, self.schedule)
        for name, fields in ENDPOINTS.items():
            self.store.add(endpoint_of({"id": name, "url": "https://soc.example/", **fields}))
        self.published = 0
        self.expected: dict[str, set[str]] = {name: set() for name in ENDPOINTS}
        self.delivered: dict[str, set[str]] = {name: set() for name in ENDPOINTS}
        self.working: list[tuple[Nudge, Message]] = []
        self.ids: dict[tuple[str, str], str] = {}

    @rule(count=st.integers(1, 4))
    def publish(self, count: int) -> None:
        outcomes = [flagged(str(self.published + n)) for n in range(count)]
        self.published += count
        self.publisher.publish(outcomes)
        for name in set(ENDPOINTS) - set(self.store.disabled()):
            self.expected[name].update(result.result_id for result, _ in outcomes)

    @precondition(lambda self: self.published)
    @rule()
    def publish_again(self) -> None:
        self.publisher.publish([flagged(str(self.published - 1))])

    @rule()
    def work(self) -> None:
        """A dispatcher sends tasks and each of them claims."""
        for nudge in self.schedule.due()[0]:
            self._took(nudge, self.schedule.claim(nudge))

    @precondition(lambda self: self.working)
    @rule(which=st.randoms(), result=st.sampled_from(["delivered", "retry", "dead", "gone"]), more=st.booleans())
    def settle(self, which: Any, result: Any, more: bool) -> None:
        nudge, message = self.working.pop(which.randrange(len(self.working)))
        if result == "delivered":
            self.delivered[nudge.endpoint_id].update(alarms_of(message))
        end = Settlement(result, "x", delay_ms=5000, hold_ms=0 if result == "delivered" else 1000)
        self._took(nudge, self.schedule.settle(nudge, message, end, claim_next=more))

    @precondition(lambda self: self.working)
    @rule(which=st.randoms())
    def kill(self, which: Any) -> None:
        """A worker dies with a message in its hands."""
        self.working.pop(which.randrange(len(self.working)))

    @rule()
    def hours_pass(self) -> None:
        """Everything that waits for a time, holds, leases and lost tasks included, has waited long enough."""
        for name in ENDPOINTS:
            for kind in ("due", "leases", "nudges"):
                for member in self.redis.zrange(f"{W}{kind}:{name}", 0, -1):
                    self.redis.zadd(f"{W}{kind}:{name}", {member: 1})
            self.redis.hdel(f"{W}state:{name}", "hold", "next_send")
            self.schedule.refresh(name)

    @rule(name=names)
    def enable(self, name: str) -> None:
        self.store.enable(name)

    @rule(name=names)
    def replay(self, name: str) -> None:
        for message in self.redis.zrange(f"{W}dead:{name}", 0, 1):
            assert self.schedule.replay(name, message)

    @invariant()
    def every_alarm_is_delivered_or_kept(self) -> None:
        for name in ENDPOINTS:
            kept = self._kept(name)
            assert self.expected[name] <= self.delivered[name] | kept

    @invariant()
    def a_message_is_in_one_place(self) -> None:
        for name in ENDPOINTS:
            places = [m for kind in ("due", "leases", "dead") for m in self.redis.zrange(f"{W}{kind}:{name}", 0, -1)]
            assert len(places) == len(set(places))

    @invariant()
    def events_are_kept_as_long_as_somebody_needs_them(self) -> None:
        uses: dict[str, int] = {}
        for key in self.redis.keys(f"{W}message:*"):
            for event in json.loads(self.redis.hget(key, "events")):
                uses[event] = uses.get(event, 0) + 1
        for name in ENDPOINTS:
            for event in self.redis.zrange(f"{W}digest:{name}", 0, -1):
                uses[event] = uses.get(event, 0) + 1
        assert {event: int(count) for event, count in self.redis.hgetall(f"{W}uses").items()} == uses
        assert set(self.redis.hkeys(f"{W}events")) == set(uses)

    @invariant()
    def whatever_waits_has_a_turn(self) -> None:
        disabled = self.store.disabled()
        for name in ENDPOINTS:
            waiting = any(self.redis.exists(f"{W}{kind}:{name}") for kind in ("due", "leases", "digest"))
            has_turn = self.redis.zscore(f"{W}turns", name) is not None
            assert has_turn == (waiting and name not in disabled)

    def teardown(self) -> None:
        """With everybody enabled and time to pass, everything is delivered."""
        for name in ENDPOINTS:
            self.enable(name)
        self.working.clear()
        for _ in range(40 * self.published + 40):
            self.hours_pass()
            for name in ENDPOINTS:
                self.replay(name)
            for nudge in self.schedule.due()[0]:
                message = self.schedule.claim(nudge)
                if message is not None:
                    self.delivered[nudge.endpoint_id].update(alarms_of(message))
                    self.schedule.settle(nudge, message, Settlement("delivered", "200"), claim_next=False)
            if not self.redis.zcard(f"{W}turns"):
                break
        assert self.delivered == {name: self.expected[name] | self.delivered[name] for name in ENDPOINTS}
        assert not self.redis.keys(f"{W}message:*")
        assert not self.redis.exists(f"{W}events", f"{W}uses")

    def _took(self, nudge: Nudge, message: Message | None) -> None:
        if message is None:
            return
        assert len(message.events) >= 1
        for alarm in alarms_of(message):
            known = self.ids.setdefault((nudge.endpoint_id, alarm), message.id)
            assert known == message.id, "an alarm has one message, whatever became of its attempts"
        self.working.append((nudge, message))

    def _kept(self, name: str) -> set[str]:
        kept = set(self.redis.zrange(f"{W}digest:{name}", 0, -1))
        for kind in ("due", "leases", "dead"):
            for message in self.redis.zrange(f"{W}{kind}:{name}", 0, -1):
                kept.update(json.loads(self.redis.hget(f"{W}message:{message}", "events")))
        return kept


def alarms_of(message: Message) -> set[str]:
    return {json.loads(event)["id"] for event in message.events}


@pytest.fixture
def own_server() -> Iterator[str]:
    with running_redis() as url:
        yield url


@pytest.mark.timeout(300)
def test_deliveries_keep_their_invariants(own_server: str) -> None:
    with Redis.from_url(own_server, decode_responses=True) as redis:
        machine = type("Machine", (Deliveries,), {"redis": redis})
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=15, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
            ),
        )
