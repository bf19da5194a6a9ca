"""The batch plan: within the budget, nobody starves, nothing is lost."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from benchmarks.load import mixed_lengths
from worker.screening.batching import (
    HORIZON,
    MAX_PADDING,
    SMALL_PADDING,
    SMALL_SHARE,
    length_sorted_batches,
    plan_batch,
)

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


@MANY
@given(LENGTHS, BUDGETS)
def test_padding_is_bounded(lengths: list[int], budget: int) -> None:
    for chosen in ([plan_batch(lengths, budget)] if lengths else []) + length_sorted_batches(lengths, budget):
        real, all_tokens = sum(lengths[position] for position in chosen), padded(lengths, chosen)
        most = SMALL_PADDING if all_tokens <= SMALL_SHARE * budget else MAX_PADDING
        assert all_tokens <= most * real


@MANY
@given(LENGTHS, BUDGETS)
def test_offline_batches_hold_everything_once_within_the_budget(lengths: list[int], budget: int) -> None:
    batches = length_sorted_batches(lengths, budget)
    assert sorted(position for batch in batches for position in batch) == list(range(len(lengths)))
    assert all(len(batch) == 1 or padded(lengths, batch) <= budget for batch in batches)
    assert [lengths[position] for batch in batches for position in batch] == sorted(lengths)


@pytest.mark.parametrize("in_flight", [64, 512])
def test_a_mixed_load_is_hardly_padded(in_flight: int) -> None:
    documents = [cut(length) for length in mixed_lengths(600)]
    waiting: list[tuple[int, int]] = []
    real = all_tokens = 0
    while documents or waiting:
        while documents and len({number for number, _ in waiting}) < in_flight:
            waiting += [(len(documents), length) for length in documents.pop()]
        chosen = plan_batch([length for _, length in waiting], 4096)
        lengths = [length for _, length in waiting]
        real, all_tokens = real + sum(lengths[i] for i in chosen), all_tokens + padded(lengths, chosen)
        waiting = [entry for position, entry in enumerate(waiting) if position not in set(chosen)]
    assert all_tokens / real <= 1.05


def cut(length: int, size: int = 256, overlap: int = 64) -> list[int]:
    """Lengths of a document's windows."""
    return [length] if length <= size else [size] * len(range(0, length - overlap, size - overlap))
