"""When a failed delivery is tried again, and how long an endpoint is left alone. Pure functions."""

import random
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

DELAYS_S = (0, 5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
"""Seconds before each attempt, counted from the one before; together 75.6 hours. The example schedule of the
Standard Webhooks specification, section "Deliverability and reliability"."""

JITTER = 0.2
"""Largest share by which a delay is lengthened, so that failures do not come back all at once."""

SLOW_DOWN = frozenset({429, 502, 504})
"""Statuses by which a receiver says that it is too much (same specification, "Delivery success and failure")."""

GONE = 410
OPEN_AFTER = 5
"""Failures in a row after which the circuit breaker opens."""

FIRST_OPEN_S, LONGEST_OPEN_S = 10.0, 600.0
FIRST_SLOW_S, LONGEST_SLOW_S = 1.0, 300.0
LONGEST_RETRY_AFTER_S = 86_400.0

Uniform = Callable[[float, float], float]


def next_delay_s(attempt: int, retry_after_s: float | None = None, uniform: Uniform = random.uniform) -> float | None:
    """Return the seconds until the next attempt, or None when there is none left.

    Args:
        attempt: The attempt that failed, 1 for the first.
        retry_after_s: What the receiver asked for; it may lengthen a delay, never shorten it.
        uniform: Source of the jitter.
    """
    if attempt >= len(DELAYS_S):
        return None
    return max(DELAYS_S[attempt] * uniform(1.0, 1.0 + JITTER), retry_after_s or 0.0)


def hold_s(
    failures: int, status: int | None, retry_after_s: float | None = None, uniform: Uniform = random.uniform
) -> float:
    """Return for how many seconds nothing is sent to the endpoint.

    Statuses of ``SLOW_DOWN`` and ``Retry-After`` hold it from the first failure. Any other failure opens the
    circuit breaker after ``OPEN_AFTER`` in a row; then one attempt at a time tries whether it is back.

    Args:
        failures: Failures in a row, this one included.
        status: The response's status, or None if there was none.
        retry_after_s: What the receiver asked for.
        uniform: Source of the jitter.
    """
    if status in SLOW_DOWN:
        hold = _doubled(FIRST_SLOW_S, failures - 1, LONGEST_SLOW_S)
    elif failures >= OPEN_AFTER:
        hold = _doubled(FIRST_OPEN_S, failures - OPEN_AFTER, LONGEST_OPEN_S)
    else:
        hold = 0.0
    return max(hold * uniform(1.0, 1.0 + JITTER), retry_after_s or 0.0)


def retry_after_s(header: str | None, now: datetime | None = None) -> float | None:
    """Return the seconds a ``Retry-After`` header asks for (RFC 9110 section 10.2.3), at most a day.

    Args:
        header: Its value: seconds, or an HTTP date. Anything else is taken as absent.
        now: The current time, with a time zone.
    """
    text = (header or "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), LONGEST_RETRY_AFTER_S)
    try:
        date = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None
    date = date if date.tzinfo else date.replace(tzinfo=UTC)
    return min(max(0.0, (date - (now or datetime.now(UTC))).total_seconds()), LONGEST_RETRY_AFTER_S)


def _doubled(first: float, times: int, longest: float) -> float:
    return float(min(longest, first * 2 ** min(times, 32)))
