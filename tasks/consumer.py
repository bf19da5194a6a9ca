"""A consumer that keeps what it cannot read: into the dead-letter stream, never into the log.

Celery's own drops such messages after logging their whole body, which is screened text.
"""

import logging
from collections.abc import Callable
from functools import cached_property
from typing import Any

from celery.worker.consumer import Consumer
from redis.exceptions import RedisError

from schemas.dead_letter import DeadLetter
from tasks.broker.envelope import UNREADABLE
from worker.errors import TopicError, UnreadableMessage
from worker.topic.publisher import RedisPublisher, redis_publisher

log = logging.getLogger(__name__)

MAX_KEPT = 1_000_000
"""Characters kept of an unreadable body."""


class BuryingConsumer(Consumer):
    """Buries unreadable messages and goes on. The names and signatures of the methods are Celery's."""

    @cached_property
    def _publisher(self) -> RedisPublisher:
        return redis_publisher(self.app.firewall_settings)

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Any], None]:
        """Return what takes a message in; one it stumbles over is buried.

        Celery reads headers and properties as its own producers write them, and ends the worker over others.
        The message would come back and end the next one.
        """
        take_in = super().create_task_handler(*args, **kwargs)

        def on_task_received(message: Any) -> None:
            try:
                take_in(message)
            except (RedisError, OSError):
                raise
            except Exception as error:  # noqa: BLE001 - hostile headers raise what they like
                self._bury(message, f"Celery cannot read the message ({type(error).__name__})")

        return on_task_received

    def on_unknown_message(self, body: Any, message: Any) -> None:
        """Bury a message that is no task call."""
        del body
        self._bury(message, "the message is no Celery task call")

    def on_unknown_task(self, body: Any, message: Any, exc: Exception) -> None:
        """Bury a call of a task this worker does not have."""
        del body
        self._bury(message, f"no task is named {exc}; call alknet_firewall.screen")

    def on_invalid_task(self, body: Any, message: Any, exc: Exception) -> None:
        """Bury a call whose arguments are not a list and an object."""
        del body, exc
        self._bury(message, "the body is not [args, kwargs, embed] of Celery's message protocol 2")

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        """Bury a body that cannot be decoded, or has a content type other than JSON."""
        self._bury(message, f"the body is not JSON ({type(exc).__name__}); set content_type application/json")

    def _bury(self, message: Any, reason: str) -> None:
        headers = message.headers
        reason = str(headers.get(UNREADABLE, reason))
        task_id = str(headers.get("id") or message.delivery_tag)
        body = message.body
        text = body.decode("utf-8", "replace") if isinstance(body, bytes) else str(body)
        letter = DeadLetter(
            task_id=task_id,
            queue=str((message.delivery_info or {}).get("routing_key", "")),
            attempts=1,
            error=UnreadableMessage(reason).info(),
            truncated=len(text) > MAX_KEPT,
            payload=text[:MAX_KEPT],
        )
        try:
            self._publisher.bury(letter)
        except TopicError as error:
            # Not acknowledged: it comes back after the visibility timeout.
            log.error("message not buried task=%s: %s", task_id, error.message)  # noqa: TRY400
            return
        log.warning("message buried task=%s: %s", task_id, reason)
        message.ack_log_error(log, self.connection_errors)
