"""The retry schedule, Retry-After, the slow-down and the circuit breaker."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.webhooks.delivery import settlement
from worker.webhooks.retries import DELAYS_S, LONGEST_OPEN_S, hold_s, next_delay_s, retry_after_s
from worker.webhooks.schedule import MAX_AGE_S, Message
from worker.webhooks.sender import Answer

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)


def least(low: float, high: float) -> float:
    return low


def most(low: float, high: float) -> float:
    return high


def test_delays_are_those_of_the_specification() -> None:
    hours = [3600 * h for h in (2, 5, 10, 14, 20, 24)]
    assert [next_delay_s(n, uniform=least) for n in range(1, 11)] == [5, 300, 1800, *hours, None]
    assert DELAYS_S[0] == 0


def test_a_message_lives_as_long_as_its_schedule() -> None:
    assert sum(DELAYS_S) * 1.2 < MAX_AGE_S


@given(st.integers(1, 9), st.floats(0, 1))
def test_jitter_lengthens_and_never_shortens(attempt: int, share: float) -> None:
    delay = next_delay_s(attempt, uniform=lambda low, high: low + share * (high - low))
    assert delay is not None
    assert DELAYS_S[attempt] <= delay <= 1.2 * DELAYS_S[attempt]


def test_retry_after_lengthens_and_never_shortens() -> None:
    assert next_delay_s(1, 60, least) == 60
    assert next_delay_s(2, 60, least) == 300


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120),
        (" 7 ", 7),
        ("0", 0),
        ("Sun, 22 Nov 2026 12:01:30 GMT", 90),
        ("Sun, 22 Nov 2026 11:00:00 GMT", 0),
        ("999999999999", 86_400),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 86_400),
        ("-5", None),
        ("soon", None),
        ("1e9", None),
        ("٣", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_in_both_forms(header: str | None, seconds: float | None) -> None:
    assert retry_after_s(header, NOW) == seconds


def test_the_breaker_opens_after_five_failures_and_doubles_up_to_a_limit() -> None:
    held = [hold_s(n, 500, uniform=least) for n in range(1, 20)]
    assert held[:4] == [0, 0, 0, 0]
    assert held[4:8] == [10, 20, 40, 80]
    assert held[-1] == LONGEST_OPEN_S
    assert hold_s(5, None, uniform=most) == 12


@pytest.mark.parametrize("status", [429, 502, 504])
def test_too_much_slows_down_at_once(status: int) -> None:
    assert [hold_s(n, status, uniform=least) for n in (1, 2, 3)] == [1, 2, 4]


@pytest.mark.parametrize("status", [429, 503, 500])
def test_retry_after_holds_the_endpoint(status: int) -> None:
    assert hold_s(1, status, 30, least) == 30


def message(attempt: int = 1, failures: int = 0) -> Message:
    return Message("m", attempt, 0, failures, 0, ("{}",))


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_2xx_is_delivered(status: int) -> None:
    assert settlement(message(), Answer(status, str(status))).result == "delivered"


@pytest.mark.parametrize("status", [None, 100, 199, 300, 302, 400, 401, 404, 409, 422, 429, 500, 502, 503, 504])
def test_anything_else_is_tried_again(status: int | None) -> None:
    end = settlement(message(), Answer(status, "reason"))
    assert end.result == "retry"
    assert 5000 <= end.delay_ms <= 6000


def test_410_is_gone() -> None:
    assert settlement(message(), Answer(410, "410")).result == "gone"


def test_the_tenth_failure_is_the_last() -> None:
    assert settlement(message(9), Answer(500, "500")).result == "retry"
    assert settlement(message(10), Answer(500, "500")).result == "dead"


def test_what_holds_the_endpoint_counts_this_failure() -> None:
    assert settlement(message(failures=3), Answer(500, "500")).hold_ms == 0
    assert settlement(message(failures=4), Answer(500, "500")).hold_ms >= 10_000
