"""Alarms, endpoints and the schedule between them in a real Redis, with a clock that a test can turn."""

import json
import time
from typing import Any

from redis import Redis

from schemas.alarm import Alarm
from schemas.result import ItemResult
from tests.integration.test_publish_script import flagged
from worker.topic.publisher import RedisPublisher, TopicLimits
from worker.webhooks.endpoints import EndpointStore, endpoint_of
from worker.webhooks.schedule import Message, Nudge, Schedule, Settlement

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


def alarm_ids(message: Message) -> list[str]:
    return [json.loads(event)["data"]["item_id"] for event in message.events]
