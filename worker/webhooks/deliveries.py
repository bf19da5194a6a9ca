"""What people see of deliveries: which wait, which were given up, what each attempt was answered."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from redis import Redis

from worker.topic.connection import redis_errors_explained
from worker.webhooks.schedule import PREFIX

LOOKED_AT = 1_000
"""Messages of one kind and endpoint that are looked at to find those to show."""

State = Literal["dead", "sending", "waiting", "delivered"]


@dataclass(frozen=True)
class Delivery:
    """A message and how it fared.

    Attributes:
        endpoint: Endpoint id.
        message: The header ``webhook-id``.
        state: ``waiting`` includes what waits for its next attempt.
        alarms: Alarms in it.
        attempts: Requests sent.
        codes: What each was answered: a status or a short reason.
        created: Seconds since the epoch.
        at: Seconds since the epoch: of the next attempt, the lease's end, the success, or the giving up.
        reason: Why it was given up.
    """

    endpoint: str
    message: str
    state: State
    alarms: int
    attempts: int
    codes: str
    created: float
    at: float
    reason: str = ""


def deliveries(redis: "Redis", endpoint_id: str, *, failed: bool = False, limit: int = 50) -> list[Delivery]:
    """Return an endpoint's deliveries: given up, waiting, and the last ones that arrived.

    Args:
        redis: A client that decodes responses.
        endpoint_id: The endpoint.
        failed: Only what was given up, or failed at least once and waits for its next attempt.
        limit: At most so many of each kind.
    """
    with redis_errors_explained(redis):
        found = list(_kept(redis, endpoint_id, "dead", "dead", limit, failed=False))
        found += _kept(redis, endpoint_id, "leases", "sending", limit, failed=failed)
        found += _kept(redis, endpoint_id, "due", "waiting", limit, failed=failed)
        return found if failed else found + list(_recent(redis, endpoint_id, limit))


def dead_messages(redis: "Redis", endpoint_id: str) -> list[str]:
    """Return the ids of an endpoint's dead-letter list, oldest first."""
    with redis_errors_explained(redis):
        return [str(message) for message in redis.zrange(f"{PREFIX}dead:{endpoint_id}", 0, -1)]


def ago(seconds: float) -> str:
    """Return a span of time in its two largest units: ``1 h 05 min``."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def _kept(
    redis: "Redis", endpoint_id: str, where: str, state: State, limit: int, *, failed: bool
) -> Iterator[Delivery]:
    # What failed waits for a time to come, and so stands behind what was never tried.
    last_first, shown = state == "dead" or failed, 0
    queued: Any = redis.zrange(f"{PREFIX}{where}:{endpoint_id}", 0, LOOKED_AT - 1, desc=last_first, withscores=True)
    for message, score in queued:
        fields: Any = redis.hgetall(f"{PREFIX}message:{message}")
        attempts = int(fields.get("attempts", 0))
        if not fields or (failed and not fields.get("codes")):
            continue
        yield Delivery(
            endpoint=endpoint_id,
            message=message,
            state=state,
            alarms=len(json.loads(fields["events"])),
            attempts=attempts,
            codes=fields.get("codes", ""),
            created=float(fields["created"]) / 1000,
            at=score / 1000,
            reason=fields.get("reason", ""),
        )
        shown += 1
        if shown >= limit:
            return


def _recent(redis: "Redis", endpoint_id: str, limit: int) -> Iterator[Delivery]:
    for raw in redis.lrange(f"{PREFIX}recent:{endpoint_id}", 0, limit - 1):
        one = json.loads(raw)
        times = {"created": one["created"] / 1000, "at": one["at"] / 1000}
        yield Delivery(endpoint_id, one["message"], "delivered", one["alarms"], one["attempts"], one["codes"], **times)


def seconds_until(delivery: Delivery, now: float | None = None) -> float:
    """Return the seconds until a waiting delivery's next attempt; 0 if it is due."""
    return max(0.0, delivery.at - (time.time() if now is None else now))
