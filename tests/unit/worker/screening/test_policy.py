"""From a p-value to a severity."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import SEVERITIES, SIGNALS
from worker.screening.policy import Policy


@pytest.mark.parametrize(
    ("p_value", "severity"),
    [
        (1.0, None),
        (0.01, None),
        (0.0099, "notice"),
        (0.001, "notice"),
        (0.00099, "warning"),
        (0.0001, "warning"),
        (0.000099, "critical"),
        (0.0, "critical"),
    ],
)
def test_severity_is_the_gravest_budget_the_p_value_is_under(p_value: float, severity: str | None) -> None:
    assert Policy().severity(p_value) == severity


@given(st.floats(0, 1), st.floats(0, 1))
def test_a_rarer_text_is_never_less_severe(one: float, other: float) -> None:
    ranks = [None, *SEVERITIES]
    low, high = sorted((one, other))
    assert ranks.index(Policy().severity(low)) >= ranks.index(Policy().severity(high))


def test_harmful_request_does_not_count_by_default() -> None:
    assert set(SIGNALS) - set(Policy().signals) == {"harmful_request"}


def test_budgets_of_one_policy_are_its_own() -> None:
    Policy().budgets["notice"] = 0.5
    assert Policy().budgets["notice"] == 0.01
