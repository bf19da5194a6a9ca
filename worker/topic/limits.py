"""Count a tenant's items in Redis, so that its limits hold over all workers together."""

from datetime import UTC, datetime
from importlib.resources import files
from typing import Protocol

from redis import Redis
from redis.exceptions import RedisError

from worker.errors import FirewallError, QuotaExceeded, RateLimited, TopicError
from worker.screening.policy_file import TenantEntry

LIMITS_PREFIX = "firewall:items:"
COUNTED_PREFIX = "firewall:counted:"

COUNTED_S = 3600
"""Seconds, at least, in which a job that is delivered again is not counted again; a key in Redis lives as long."""


class TenantLimits(Protocol):
    """Counts items by tenant."""

    def take(self, tenant: str, entry: TenantEntry, items: int, task_id: str) -> FirewallError | None:
        """Count items and return None, or return why the tenant may not have them; then none is counted.

        Args:
            tenant: Who sent them.
            entry: The tenant's limits.
            items: How many.
            task_id: The broker's id of the job, the same over redeliveries; its items are counted once.

        Raises:
            TopicError: Redis does not count; the job must be delivered again.
        """
        ...


class RedisTenantLimits:
    """Counts by minutes of the clock and days, UTC. At a border a tenant may have twice a minute's items at once.

    Args:
        redis: A client.
        visibility_timeout_s: After which a dead worker's job is delivered again.
    """

    def __init__(self, redis: "Redis", visibility_timeout_s: int = 0):
        self._counted_s = max(COUNTED_S, 2 * visibility_timeout_s)
        self._script = redis.register_script(files("worker.topic").joinpath("limits.lua").read_text(encoding="utf-8"))

    def take(self, tenant: str, entry: TenantEntry, items: int, task_id: str) -> FirewallError | None:
        """See ``TenantLimits.take``."""
        minute, day = entry.items_per_minute or 0, entry.items_per_day or 0
        if not minute and not day:
            return None
        now = datetime.now(UTC)
        minute_key, day_key = (f"{LIMITS_PREFIX}{tenant}:{now:{form}}" for form in ("%Y%m%dT%H%M", "%Y%m%d"))
        # With the number of items: another job under the same id is counted as well.
        keys = [minute_key, day_key, f"{COUNTED_PREFIX}{tenant}:{items}:{task_id}"]
        try:
            refused = int(str(self._script(keys=keys, args=[items, minute, day, self._counted_s])))
        except RedisError as error:
            raise TopicError(f"Redis does not count the tenant's items ({type(error).__name__})") from None
        if refused == 1:
            return RateLimited(
                f"tenant {tenant} may have {minute} items a minute, and these {items} are too many; send them again in "
                f"{60 - now.second} s",
                field="tenant",
            )
        if refused:
            return QuotaExceeded(
                f"tenant {tenant} may have {day} items a day, and these {items} are too many; send them again "
                "tomorrow, UTC, or have the quota raised",
                field="tenant",
            )
        return None
