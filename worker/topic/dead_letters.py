"""Look through the dead-letter stream and take letters out of it."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from redis import Redis

from schemas.dead_letter import DeadLetter
from schemas.event import DeadLetterEvent
from schemas.names import EVENT_FIELD, STREAM_DEAD
from worker.errors import NotReplayable

PAGE = 100
"""Letters asked for at once; one may hold some megabytes."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A letter and the id of its stream entry."""

    entry: str
    event: DeadLetterEvent

    @property
    def letter(self) -> DeadLetter:
        """What was buried."""
        return self.event.data


class DeadLetters:
    """The dead-letter stream.

    Args:
        redis: A client that decodes responses.
    """

    def __init__(self, redis: "Redis"):
        self._redis = redis

    def all(self) -> Iterator[Kept]:
        """Return every letter, the oldest first; entries somebody else wrote are left out.

        Ends with the newest letter of now: one that is buried meanwhile, because its job was sent again, waits for
        the next call.
        """
        newest: Any = self._redis.xrevrange(STREAM_DEAD, count=1)
        start, end = "-", newest[0][0] if newest else "-"
        while entries := self._range(start, end):
            for entry, fields in entries:
                start = f"({entry}"
                if (kept := _read(entry, fields)) is not None:
                    yield kept

    def find(self, entry: str) -> Kept | None:
        """Return the letter of a stream entry, or None if there is none."""
        found = self._range(entry, entry)
        return _read(*found[0]) if found else None

    def drop(self, entry: str) -> bool:
        """Delete a letter; return whether it was there."""
        return bool(self._redis.xdel(STREAM_DEAD, entry))

    def _range(self, start: str, end: str) -> list[tuple[str, dict[str, str]]]:
        found: Any = self._redis.xrange(STREAM_DEAD, min=start, max=end, count=PAGE)
        return list(found)


def job_in(letter: DeadLetter) -> object:
    """Return the job a letter holds, to be sent again.

    Raises:
        NotReplayable: The payload is no task argument any more, or never was one.
    """
    if letter.truncated:
        raise NotReplayable("only the beginning of the payload was kept; send the job again from its source")
    try:
        payload = json.loads(letter.payload)
    except (ValueError, RecursionError):
        raise NotReplayable("the payload is not JSON; `dead-letters show` prints it") from None
    # An unreadable message keeps its whole body, [args, kwargs, embed] by Celery's protocol.
    if isinstance(payload, list) and len(payload) == 3 and isinstance(payload[0], list) and len(payload[0]) == 1:
        payload = payload[0][0]
    if not isinstance(payload, dict) or "items" not in payload:
        raise NotReplayable("the payload is no job; `dead-letters show` prints it")
    return payload


def _read(entry: str, fields: dict[str, str]) -> Kept | None:
    try:
        return Kept(entry, DeadLetterEvent.model_validate_json(fields.get(EVENT_FIELD, "")))
    except ValidationError:
        return None
