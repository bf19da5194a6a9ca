"""How a message leaves its queue and comes back: each one script, done as a whole or not at all."""

import uuid
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

TAKEN = "firewall:unacked"
"""Hash of messages that were taken and not acknowledged, by delivery tag (``<fresh id>:<queue>``)."""

LEASES = "firewall:unacked_index"
"""Sorted set of their tags by the time, in seconds of Redis' own clock, at which they were last held."""

TAKE = files("tasks.broker").joinpath("take.lua").read_text(encoding="utf-8")
GIVE_BACK = files("tasks.broker").joinpath("give_back.lua").read_text(encoding="utf-8")

SWEEP = 100
"""Messages put back by one call; Redis serves nobody else while a script runs."""


def take_arguments(queues: Sequence[str], most_bytes: int) -> list[Any]:
    """Return the arguments of EVAL that take one message.

    The tag is fresh at every delivery, so that a worker that was given up for dead and comes back can
    neither acknowledge nor return what is another's by now.
    """
    return [TAKE, 2 + len(queues), TAKEN, LEASES, *queues, uuid.uuid4().hex, most_bytes]


def give_back(redis: Any, tags: Sequence[str], *, first: bool) -> int:
    """Put messages back into their queues and return how many; one that was acknowledged is left alone.

    Args:
        redis: A client.
        tags: Their delivery tags.
        first: They are taken next, before what waits already.
    """
    if not tags:
        return 0
    return int(redis.eval(GIVE_BACK, 2, TAKEN, LEASES, "RPUSH" if first else "LPUSH", "", "", *tags))


def give_back_abandoned(redis: Any, timeout_s: float) -> int:
    """Put back every message whose lease nobody renewed for ``timeout_s`` seconds, and return how many."""
    total = 0
    while True:
        given = int(redis.eval(GIVE_BACK, 2, TAKEN, LEASES, "RPUSH", timeout_s, SWEEP))
        total += given
        if given < SWEEP:
            return total
