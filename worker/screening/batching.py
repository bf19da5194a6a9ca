"""Which waiting windows go into the next forward pass. A pure function; threads and clocks live around it."""

from collections.abc import Sequence

HORIZON = 32
"""How many budgets' worth of the oldest windows are looked at. More gives more equal lengths, and a
longer sort; the oldest window is in the batch whatever its length, so nothing waits for company."""

OFFLINE_BUDGET = 8192
"""Padded tokens of a batch where nobody waits for one."""

MAX_PADDING = 1.05
"""Padded over real tokens of a batch. Two batches of equal lengths cost less than one of mixed lengths."""

SMALL_SHARE, SMALL_PADDING = 1 / 16, 1.25
"""Up to this share of the budget a batch may be padded more: a pass costs something before its first token."""


def plan_batch(lengths: Sequence[int], budget: int) -> list[int]:
    """Choose the windows of one batch.

    The oldest ``HORIZON`` budgets are sorted by length, and the batch is the run of neighbours around the
    oldest window that stays within the budget of padded tokens (longest length times count). Nearly equal
    lengths keep padding small; always serving the oldest keeps waiting bounded.

    Args:
        lengths: Tokens of the waiting windows, oldest first.
        budget: Padded tokens a batch may have. A longer window still goes, alone.

    Returns:
        Positions in ``lengths``, oldest first; empty only if nothing waits. Among windows of one length
        an older one is never passed over for a newer one.
    """
    if not lengths:
        return []
    horizon = _horizon(lengths, budget)
    # Neighbours nearest the oldest window go first: among windows of one length these must be the older ones.
    order = sorted(
        range(horizon),
        key=lambda position: (lengths[position], -position if lengths[position] < lengths[0] else position),
    )
    rank = order.index(0)
    low, high = _widen(lengths, order, rank, budget)
    return sorted(order[low:high])


def length_sorted_batches(lengths: Sequence[int], budget: int = OFFLINE_BUDGET) -> list[list[int]]:
    """Cut all windows into batches of nearly equal lengths within a budget of padded tokens, shortest first."""
    batches: list[list[int]] = []
    tokens = 0
    for position in sorted(range(len(lengths)), key=lambda position: (lengths[position], position)):
        length = lengths[position]
        tokens += length
        if batches and _is_dense(length * (len(batches[-1]) + 1), tokens, budget):
            batches[-1].append(position)
        else:
            batches.append([position])
            tokens = length
    return batches


def _is_dense(padded: int, tokens: int, budget: int) -> bool:
    """Tell whether a batch of so many padded and real tokens is within budget and padding."""
    most = SMALL_PADDING if padded <= SMALL_SHARE * budget else MAX_PADDING
    return padded <= budget and padded <= most * tokens


def _horizon(lengths: Sequence[int], budget: int) -> int:
    total = 0
    for position, length in enumerate(lengths):
        total += length
        if total > HORIZON * budget:
            return position + 1
    return len(lengths)


def _widen(lengths: Sequence[int], order: list[int], rank: int, budget: int) -> tuple[int, int]:
    """Return the slice of ``order`` around ``rank`` that fills the budget without much padding."""
    low, high = rank, rank + 1
    tokens = lengths[order[rank]]

    def fits(longest: int, added: int) -> bool:
        return _is_dense(longest * (high - low + 1), tokens + added, budget)

    while high < len(order) and fits(lengths[order[high]], lengths[order[high]]):
        tokens += lengths[order[high]]
        high += 1
    longest = lengths[order[high - 1]]
    while low > 0 and fits(longest, lengths[order[low - 1]]):
        low -= 1
        tokens += lengths[order[low]]
    return low, high
