"""Read the result topic: plainly from a position, or as a member of a consumer group."""

from collections.abc import Iterator
from dataclasses import dataclass

from redis import Redis
from redis.exceptions import ResponseError

from schemas.names import EVENT_FIELD


@dataclass(frozen=True, slots=True)
class Entry:
    """A stream entry: its Redis id and the CloudEvents JSON text."""

    id: str
    event: str


ABANDONED_MS = 60_000
"""Milliseconds after which an unconfirmed entry of another member is taken over."""

BATCH = 256
"""Entries asked for at once."""


def read_stream(
    redis: "Redis", stream: str, *, start: str = "$", block_ms: int = 1000, count: int | None = None
) -> Iterator[Entry | None]:
    """Follow a stream.

    Args:
        redis: A client that decodes responses.
        stream: Its name.
        start: ``$`` for what comes from now on, ``0`` for all that is kept, or an entry id.
        block_ms: Milliseconds after which None is yielded if nothing came, so that callers can stop.
        count: Stop after so many entries; by default never.
    """
    last = start
    if start == "$":
        # "$" would mean "now" anew at every call and lose what comes in between.
        newest = redis.xrevrange(stream, count=1)
        last = str(newest[0][0]) if newest else "0"
    left = count
    while left is None or left > 0:
        most = BATCH if left is None else min(BATCH, left)
        entries = _entries(redis.xread({stream: last}, count=most, block=block_ms))
        if not entries:
            yield None
        for entry_id, fields in entries:
            last = entry_id
            left = None if left is None else left - 1
            yield Entry(entry_id, fields[EVENT_FIELD])


def read_group(
    redis: "Redis", stream: str, group: str, consumer: str, *, block_ms: int = 1000, count: int | None = None
) -> Iterator[Entry | None]:
    """Follow a stream as one of a group's consumers, first what this consumer took and never confirmed.

    An entry is confirmed (XACK) when the caller asks for the next one, so one that a crash interrupts is
    delivered again. Leaving the loop early leaves the last entry unconfirmed: give ``count`` instead.

    Args:
        redis: A client that decodes responses.
        stream: Its name.
        group: Created at the stream's beginning if it does not exist.
        consumer: Unique name within the group.
        block_ms: As in ``read_stream``.
        count: Stop after so many entries, the last one confirmed too.
    """
    try:
        redis.xgroup_create(stream, group, id="0", mkstream=True)
    except ResponseError as error:
        if "BUSYGROUP" not in str(error):
            raise
    # What a member that never came back took is nobody's: take it over before the own leftovers.
    redis.xautoclaim(stream, group, consumer, min_idle_time=ABANDONED_MS, start_id="0-0", count=BATCH)
    position = "0"
    left = count
    while left is None or left > 0:
        most = BATCH if left is None else min(BATCH, left)
        entries = _entries(redis.xreadgroup(group, consumer, {stream: position}, count=most, block=block_ms))
        if not entries:
            if position == ">":
                yield None
            position = ">"  # own leftovers are done; from now on new entries
            continue
        for entry_id, fields in entries:
            if fields:  # a leftover that the stream has trimmed meanwhile comes without its fields
                yield Entry(entry_id, fields[EVENT_FIELD])
                left = None if left is None else left - 1
            redis.xack(stream, group, entry_id)
            position = position if position == ">" else entry_id


def _entries(reply: object) -> list[tuple[str, dict[str, str]]]:
    """Return the entries of the one stream asked for (RESP2 form, which ``connect`` fixes)."""
    return list(reply[0][1]) if reply else []  # type: ignore[index]
