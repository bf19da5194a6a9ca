"""Consumer groups that do not keep up: how far behind they are, and whether they have missed entries."""

import logging
import threading
from dataclasses import dataclass
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from schemas.names import STREAM_ALARMS, STREAM_RESULTS
from worker.settings import Settings

log = logging.getLogger(__name__)

MOST_COUNTED = 1000
"""Entries counted for a group where the server does not count (Redis before 7)."""

LOOK_S = 30.0


@dataclass(frozen=True, slots=True)
class GroupLag:
    """How a consumer group of the result topic keeps up.

    Attributes:
        stream: Its stream.
        group: Its name.
        lag: Entries not delivered to any member; before Redis 7 counted up to ``MOST_COUNTED``.
        pending: Entries delivered and not confirmed.
        missed: Entries were trimmed before the group read them, or the next one will be.
    """

    stream: str
    group: str
    lag: int
    pending: int
    missed: bool


def group_lags(redis: "Redis", settings: Settings) -> list[GroupLag]:
    """Return how every consumer group of the result topic keeps up.

    Readers without a group (``XREAD``) are unknown to Redis and not in it.

    Args:
        redis: A client that decodes responses.
        settings: How much the streams keep.

    Raises:
        RedisError: Redis did not answer.
    """
    lags: list[GroupLag] = []
    for stream, maxlen in ((STREAM_RESULTS, settings.results_maxlen), (STREAM_ALARMS, settings.alarms_maxlen)):
        if not redis.exists(stream):
            continue
        groups: Any = redis.xinfo_groups(stream)
        oldest: Any = redis.xrange(stream, count=1)
        full = redis.xlen(stream) >= maxlen
        for group in groups:
            seen = str(group["last-delivered-id"])
            lag = group.get("lag")
            if lag is None:
                unread: Any = redis.xrange(stream, min=f"({seen}", count=MOST_COUNTED)
                lag = len(unread)
            # A full stream loses its oldest entry with a new one, and the group has yet to read that one at best.
            missed = full and _key(seen) < _key(oldest[0][0])
            lags.append(GroupLag(stream, str(group["name"]), int(lag), int(group["pending"]), missed))
    return lags


class LagWatch:
    """Looks at the groups every ``LOOK_S`` seconds and says it in the log when one has missed entries, once."""

    def __init__(self, redis: "Redis", settings: Settings):
        self._redis = redis
        self._settings = settings
        self._missing: set[tuple[str, str]] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="firewall-lag", daemon=True)

    def start(self) -> None:
        """Start looking."""
        self._thread.start()

    def stop(self) -> None:
        """Look no longer."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def look(self) -> None:
        """Look once."""
        try:
            lags = group_lags(self._redis, self._settings)
        except RedisError as error:
            log.warning("the lag of consumer groups is unknown: %s", type(error).__name__)
            return
        missing = {(lag.stream, lag.group): lag for lag in lags if lag.missed}
        for place in missing.keys() - self._missing:
            log.error(
                "topic_entries_missed stream=%s group=%s: entries were trimmed before the group read them. Let it read "
                "faster, remove it (XGROUP DESTROY) if nobody needs it, or raise FIREWALL_RESULTS_MAXLEN or "
                "FIREWALL_ALARMS_MAXLEN",
                *place,
            )
        self._missing = set(missing)

    def _run(self) -> None:
        while not self._stop.wait(LOOK_S):
            self.look()


def _key(entry: str) -> tuple[int, int]:
    milliseconds, _, number = entry.partition("-")
    return int(milliseconds), int(number or 0)
