"""The schedule of deliveries in Redis. Every change is one atomic script, written in deliver.lua."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Literal

from redis import Redis

from worker.topic.connection import redis_errors_explained

PREFIX = "firewall:webhooks:"


def lua(*names: str) -> str:
    """Return the text of Lua files of this package, one after the other."""
    return "\n".join(files("worker.webhooks").joinpath(name).read_text(encoding="utf-8") for name in names)


_CLAIM = "return claim(ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]))"
_SETTLE = """
settle(ARGV[1], ARGV[3], ARGV[4], ARGV[5], ARGV[6], tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9]))
if ARGV[10] == '1' then return claim(ARGV[1], ARGV[2], tonumber(ARGV[11]), tonumber(ARGV[12])) end
finish(ARGV[1], ARGV[2], config_of(ARGV[1]), clock())
"""
_DISPATCH = "return dispatch(tonumber(ARGV[1]))"
_REFRESH = "refresh(ARGV[1], config_of(ARGV[1]), clock())"
_REPLAY = "return replay(ARGV[1], ARGV[2])"
_PURGE = "return purge(ARGV[1])"

MAX_AGE_S = 4 * 86_400
"""Seconds after which a message that still waits is given up: an endpoint that is dead for days must not
hold its backlog for ever. Longer than the retry schedule."""

Result = Literal["delivered", "retry", "dead", "gone"]


@dataclass(frozen=True)
class Nudge:
    """A task to look after an endpoint. The schedule counts those on their way, and knows them by their names."""

    endpoint_id: str
    name: str


@dataclass(frozen=True)
class Message:
    """A message that this process may send until its lease ends.

    Attributes:
        id: Stable over all attempts; the header ``webhook-id``.
        attempt: 1 for the first.
        created_ms: Milliseconds since the epoch.
        failures: Failed attempts of the endpoint, whichever message, since its last success.
        waiting: Alarms that waited for a later digest when this one was made.
        events: Alarm events as JSON: one, or those of a digest.
    """

    id: str
    attempt: int
    created_ms: int
    failures: int
    waiting: int
    events: tuple[str, ...]


@dataclass(frozen=True)
class Settlement:
    """How an attempt ended.

    Attributes:
        result: ``gone`` disables the endpoint and keeps the message.
        code: Status or short reason, as shown to people.
        delay_ms: Until the message's next attempt.
        hold_ms: For which nothing is sent to the endpoint.
        took_ms: Duration of the request.
    """

    result: Result
    code: str
    delay_ms: int = 0
    hold_ms: int = 0
    took_ms: int = 0


class Schedule:
    """Hands out due messages and takes back how they fared.

    Args:
        redis: A client that decodes responses.
        lease_s: Seconds a claimed message may take. Then it is sent again, with the same id.

    All methods raise ``ServiceError`` when Redis does not answer.
    """

    def __init__(self, redis: "Redis", lease_s: float = 30.0):
        self.redis = redis
        self._lease = [round(lease_s * 1000), MAX_AGE_S * 1000]
        shared = lua("messages.lua", "deliver.lua")
        self._claim, self._settle, self._dispatch, self._refresh, self._replay, self._purge = (
            redis.register_script(f"{shared}\n{body}")
            for body in (_CLAIM, _SETTLE, _DISPATCH, _REFRESH, _REPLAY, _PURGE)
        )

    def due(self) -> tuple[list[Nudge], float]:
        """Return tasks that the caller must send, and the seconds until the next look."""
        wait_ms, *names = self._call(self._dispatch, self._lease[0])
        pairs = zip(names[::2], names[1::2], strict=True)
        return [Nudge(endpoint_id, name) for endpoint_id, name in pairs], int(wait_ms) / 1000

    def wait(self, seconds: float) -> None:
        """Return after so many seconds, or as soon as something became due."""
        with redis_errors_explained(self.redis):
            self.redis.blpop([f"{PREFIX}wake"], timeout=seconds)

    def claim(self, nudge: Nudge) -> Message | None:
        """Lease the endpoint's next message, if one may be sent now. If not, the task is over."""
        return _message(self._call(self._claim, nudge.endpoint_id, nudge.name, *self._lease))

    def settle(self, nudge: Nudge, message: Message, end: Settlement, *, claim_next: bool) -> Message | None:
        """Record how an attempt ended, and in the same step lease the endpoint's next message or end the task."""
        task = (nudge.endpoint_id, nudge.name)
        ended = (message.id, message.attempt, end.result, end.code, end.delay_ms, end.hold_ms, end.took_ms)
        return _message(self._call(self._settle, *task, *ended, int(claim_next), *self._lease))

    def refresh(self, endpoint_id: str) -> None:
        """Work out anew when the endpoint is next looked after: it was changed, enabled or disabled."""
        self._call(self._refresh, endpoint_id)

    def replay(self, endpoint_id: str, message_id: str) -> bool:
        """Send a message from the dead-letter list again, with its id; tell whether it was there."""
        return bool(self._call(self._replay, endpoint_id, message_id))

    def purge(self, endpoint_id: str) -> None:
        """Delete everything that waits for an endpoint."""
        while self._call(self._purge, endpoint_id):
            pass

    def _call(self, script: Callable[..., Any], *arguments: str | int) -> Any:
        with redis_errors_explained(self.redis):
            return script(args=arguments)


def _message(claimed: list[Any] | None) -> Message | None:
    if not claimed:
        return None
    message_id, attempt, created, failures, waiting, *events = claimed
    return Message(message_id, int(attempt), int(created), int(failures), int(waiting), tuple(filter(None, events)))
