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


def read_stream(redis: "Redis", stream: str, *, start: str = "$", block_ms: int = 1000) -> Iterator[Entry | None]:
    """Follow a stream for ever.

    Args:
        redis: A client that decodes responses.
        stream: Its name.
        start: ``$`` for what comes from now on, ``0`` for all that is kept, or an entry id.
        block_ms: Milliseconds after which None is yielded if nothing came, so that callers can stop.
    """
    last = start
    if start == "$":
        # "$" would mean "now" anew at every call and lose what comes in between.
        newest = redis.xrevrange(stream, count=1)
        last = str(newest[0][0]) if newest else "0"
    while True:
        reply = redis.xread({stream: last}, count=256, block=block_ms)
        if not reply:
            yield None
            continue
        for entry_id, fields in _entries(reply):
            last = entry_id
            yield Entry(entry_id, fields[EVENT_FIELD])


def read_group(
    redis: "Redis", stream: str, group: str, consumer: str, *, block_ms: int = 1000
) -> Iterator[Entry | None]:
    """Follow a stream as one of a group's consumers, first what this consumer took and never confirmed.

    An entry is confirmed (XACK) when the caller asks for the next one, so one that a crash interrupts is
    delivered again.

    Args:
        redis: A client that decodes responses.
        stream: Its name.
        group: Created at the stream's beginning if it does not exist.
        consumer: Unique name within the group.
        block_ms: As in ``read_stream``.
    """
    try:
        redis.xgroup_create(stream, group, id="0", mkstream=True)
    except ResponseError as error:
        if "BUSYGROUP" not in str(error):
            raise
    position = "0"
    while True:
        reply = redis.xreadgroup(group, consumer, {stream: position}, count=256, block=block_ms)
        entries = _entries(reply)
        if not entries:
            if position == "0":
                position = ">"  # own leftovers are done; from now on new entries
            else:
                yield None
            continue
        for entry_id, fields in entries:
            yield Entry(entry_id, fields[EVENT_FIELD])
            redis.xack(stream, group, entry_id)
            if position != ">":
                position = entry_id


def _entries(reply: object) -> list[tuple[str, dict[str, str]]]:
    """Return the entries of the one stream asked for (RESP2 form, which ``connect`` fixes)."""
    return list(reply[0][1]) if reply else []  # type: ignore[index]
