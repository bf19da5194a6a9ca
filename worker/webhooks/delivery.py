"""Take an endpoint's due messages one after the other: render, sign, send, record."""

import logging
import threading
import time
import traceback
import uuid
from dataclasses import dataclass

from redis import Redis

from worker.settings import Settings
from worker.topic.connection import connect
from worker.webhooks import formats
from worker.webhooks.endpoints import Endpoint, EndpointStore, Keys
from worker.webhooks.retries import GONE, hold_s, next_delay_s
from worker.webhooks.schedule import Message, Nudge, Schedule, Settlement
from worker.webhooks.sender import Answer, Sender, sender_of
from worker.webhooks.signing import signed_headers

log = logging.getLogger(__name__)

TURN_S = 5.0
"""Seconds after which an endpoint's turn ends, so that busy endpoints share the threads."""

LEASE_MARGIN_S = 5.0
"""Seconds that a lease is longer than a request may take."""

USER_AGENT = "alknet-firewall"


@dataclass(frozen=True)
class Signed:
    """A request as it was sent; ``shown_body`` is the body without secrets."""

    headers: dict[str, str]
    shown_body: str


class Deliverer:
    """Delivers to endpoints. One for all threads of a process.

    Args:
        store: Endpoints and secrets.
        schedule: What is due.
        sender: Sends the requests.
    """

    def __init__(self, store: EndpointStore, schedule: Schedule, sender: Sender):
        self._store = store
        self._schedule = schedule
        self._sender = sender
        self._stopping = threading.Event()

    def turn(self, nudge: Nudge) -> int:
        """Send what is due to an endpoint, for at most ``TURN_S`` seconds; return the number of requests.

        A process that dies within leaves one message leased: it is sent again, with its id, when the lease ends.

        Raises:
            ServiceError: Redis does not answer.
        """
        ends, sent = time.monotonic() + TURN_S, 0
        message = self._schedule.claim(nudge)
        if message is None:
            return 0
        endpoint, keys = self._store.get(nudge.endpoint_id), self._store.keys(nudge.endpoint_id)
        while message is not None:
            end = self._attempt(endpoint, keys, message)
            sent += 1
            more = time.monotonic() < ends and not self._stopping.is_set()
            message = self._schedule.settle(nudge, message, end, claim_next=more)
        return sent

    def ping(self, endpoint_id: str) -> tuple[Signed, Answer]:
        """Send a signed try-out at once, past the schedule; return it and what came back."""
        endpoint, keys = self._store.get(endpoint_id), self._store.keys(endpoint_id)
        message_id = f"msg_ping_{uuid.uuid4().hex}"
        routing_key = _routing_key(keys)
        body = formats.ping(endpoint, message_id, routing_key)
        headers, answer = self._send(endpoint, keys, message_id, body)
        return Signed(headers, body.replace(routing_key, "(hidden)") if routing_key else body), answer

    def stop(self) -> None:
        """Let running turns end after the request they are in."""
        self._stopping.set()

    def close(self) -> None:
        """Close connections to endpoints."""
        self._sender.close()

    def _attempt(self, endpoint: Endpoint, keys: Keys, message: Message) -> Settlement:
        try:
            body = formats.render(endpoint, message, _routing_key(keys))
            _, answer = self._send(endpoint, keys, message.id, body)
        except Exception as error:  # noqa: BLE001
            # Whatever is wrong with one message must not take the endpoint's others with it.
            place = traceback.extract_tb(error.__traceback__)[-1]
            log.error(  # noqa: TRY400 - a foreign exception's text may quote the alarm
                "webhook not sent endpoint=%s message=%s: unexpected %s at %s:%s",
                *(endpoint.id, message.id, type(error).__name__, place.filename, place.lineno),
            )
            answer = Answer(None, f"internal: {type(error).__name__}")
        end = settlement(message, answer)
        log.log(
            logging.INFO if end.result == "delivered" else logging.WARNING,
            "webhook %s endpoint=%s message=%s attempt=%d answer=%s seconds=%.3f",
            *(end.result, endpoint.id, message.id, message.attempt, end.code, answer.seconds),
        )
        return end

    def _send(self, endpoint: Endpoint, keys: Keys, message_id: str, body: str) -> tuple[dict[str, str], Answer]:
        headers = {
            "Content-Type": formats.CONTENT_TYPES[endpoint.format],
            "User-Agent": USER_AGENT,
            **signed_headers(message_id, body, keys.valid()),
        }
        return headers, self._sender.post(endpoint.url, headers, body.encode())


def deliverer_of(settings: Settings, redis: "Redis | None" = None) -> Deliverer:
    """Return a deliverer with the settings' Redis, time limit and egress rules.

    Raises:
        SettingsError: See ``sender_of``.
    """
    schedule = Schedule(redis or connect(settings), settings.webhook_timeout_s + LEASE_MARGIN_S)
    return Deliverer(EndpointStore(schedule.redis, schedule), schedule, sender_of(settings))


def settlement(message: Message, answer: Answer) -> Settlement:
    """Return what an answer means for a message and its endpoint."""
    took_ms = round(answer.seconds * 1000)
    if answer.delivered:
        return Settlement("delivered", answer.reason, took_ms=took_ms)
    delay_s = next_delay_s(message.attempt, answer.retry_after_s)
    hold_ms = round(1000 * hold_s(message.failures + 1, answer.status, answer.retry_after_s))
    if answer.status == GONE:
        return Settlement("gone", answer.reason, round(1000 * (delay_s or 0)), 0, took_ms)
    if delay_s is None:
        return Settlement("dead", answer.reason, 0, hold_ms, took_ms)
    return Settlement("retry", answer.reason, round(1000 * delay_s), hold_ms, took_ms)


def _routing_key(keys: Keys) -> str | None:
    return keys.routing_key.get_secret_value() if keys.routing_key else None
