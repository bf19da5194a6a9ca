"""The batch plan: within the budget, nobody starves, nothing is lost."""

from hypothesis import example, given, settings
from hypothesis import strategies as st

from worker.screening.batching import HORIZON, plan_batch

LENGTHS = st.lists(st.integers(1, 300) | st.sampled_from([8, 16, 64]), max_size=120)
BUDGETS = st.integers(1, 2000)
MANY = settings(max_examples=300, deadline=None)


def padded(lengths: list[int], chosen: list[int]) -> int:
    return max(lengths[position] for position in chosen) * len(chosen)


@MANY
@given(LENGTHS, BUDGETS)
def test_no_position_twice_and_oldest_first(lengths: list[int], budget: int) -> None:
    chosen = plan_batch(lengths, budget)
    assert chosen == sorted(set(chosen))
    assert all(0 <= position < len(lengths) for position in chosen)


@MANY
@given(LENGTHS, BUDGETS)
def test_batch_stays_within_the_budget_unless_it_is_one_window(lengths: list[int], budget: int) -> None:
    chosen = plan_batch(lengths, budget)
    assert len(chosen) <= 1 or padded(lengths, chosen) <= budget


@MANY
@given(LENGTHS, BUDGETS)
def test_oldest_is_always_in(lengths: list[int], budget: int) -> None:
    assert plan_batch(lengths, budget)[:1] == ([0] if lengths else [])


@MANY
@given(LENGTHS, BUDGETS)
@example([10, 5, 5], 20)
def test_among_equal_lengths_the_older_goes_first(lengths: list[int], budget: int) -> None:
    chosen = set(plan_batch(lengths, budget))
    last = max(chosen, default=0)
    passed_over = [
        (older, newer)
        for newer in chosen
        for older in range(last)
        if older < newer and older not in chosen and lengths[older] == lengths[newer]
    ]
    assert passed_over == []


@MANY
@given(LENGTHS, BUDGETS)
def test_draining_serves_everything_once(lengths: list[int], budget: int) -> None:
    waiting, served = list(range(len(lengths))), []
    while waiting:
        chosen = plan_batch([lengths[number] for number in waiting], budget)
        assert chosen
        served += [waiting[position] for position in chosen]
        waiting = [number for position, number in enumerate(waiting) if position not in set(chosen)]
    assert sorted(served) == list(range(len(lengths)))


def test_nothing_waits_nothing_goes() -> None:
    assert plan_batch([], 100) == []


def test_a_window_over_the_budget_goes_alone() -> None:
    assert plan_batch([500, 10, 10], 100) == [0]


def test_equal_lengths_fill_the_budget() -> None:
    assert plan_batch([16] * 10, 64) == [0, 1, 2, 3]


def test_a_long_oldest_window_is_not_padded_with_many_short_ones() -> None:
    assert plan_batch([64, 4, 4, 64, 64], 192) == [0, 3, 4]


def test_windows_beyond_the_horizon_are_not_looked_at() -> None:
    budget = 64
    lengths = [16, *[32] * (HORIZON * budget // 32 + 1), 16]
    assert len(lengths) - 1 not in plan_batch(lengths, budget)
