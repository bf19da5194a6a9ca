"""Kombu's Redis transport, except that no message is ever nowhere.

Kombu pops a message with BRPOP and notes it as unacknowledged in a second step; whoever dies in between
takes the message along, and an element that is not JSON stops the worker. Here one script does both steps
(``take.lua``), and what cannot be read reaches the consumer as a message that says so.

A script cannot wait, so that an idle channel asks the server to tell it when one of its empty queues
changes (CLIENT TRACKING, Redis 6). Nothing but the latency depends on that: it asks again every
``LISTEN_S`` seconds anyway.

The overridden methods are private to Kombu 5.7; tests/integration/broker holds what must stay true.
"""

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from queue import Empty
from typing import Any

from kombu.transport import redis, virtual
from kombu.utils.encoding import bytes_to_str
from redis.exceptions import RedisError, ResponseError

from schemas.limits import MAX_MESSAGE_BYTES
from tasks.broker.envelope import open_envelope
from tasks.broker.scripts import LEASES, TAKEN, give_back, give_back_abandoned, take_arguments
from tasks.leases import leases

log = logging.getLogger(__name__)

LISTEN_S = 1.0
"""Seconds an idle channel trusts the server to speak up; also the pause after a refusal."""


class QoS(redis.QoS):
    """What a channel holds: recorded in Redis by ``take.lua``, counted here."""

    def append(self, message: Any, delivery_tag: str) -> None:
        """Count a message; it was recorded when it was taken."""
        virtual.QoS.append(self, message, delivery_tag)

    def ack(self, delivery_tag: str) -> None:
        """Acknowledge, or, if Redis refuses (read-only after a failover), let the message come back."""
        self._settle(delivery_tag, super().ack)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Drop a message or put it back, with the same patience."""
        self._settle(delivery_tag, partial(super().reject, requeue=requeue))

    def _settle(self, tag: str, settle: Callable[[str], None]) -> None:
        if self.channel.closed:
            return  # whatever it held has gone back with it; a job that ends later has been delivered anew
        try:
            settle(tag)
        except ResponseError as error:
            log.warning("not acknowledged, the message comes back: %s", type(error).__name__)
            virtual.QoS.ack(self, tag)

    def restore_by_tag(self, tag: str, client: Any = None, leftmost: bool = False) -> None:
        """Put one message back; ``leftmost`` after all that waits."""
        with self.channel.conn_or_acquire(client) as connected:
            give_back(connected, [tag], first=not leftmost)

    def restore_unacked(self, client: Any = None) -> None:
        """Put back all that is held, at once. What Redis does not take back comes back by the time-out."""
        self._flush()
        tags = list(self._delivered)
        self._delivered.clear()
        for tag in tags:
            leases.release(tag)
        if not tags:
            return
        try:
            with self.channel.conn_or_acquire(client) as connected:
                # In reverse, so that the oldest is taken next.
                give_back(connected, tags[::-1], first=True)
        except (RedisError, OSError, AttributeError) as error:
            # AttributeError: the channel's connection is gone, and with it where to make another one to.
            log.warning("%d messages wait for the visibility timeout: %s", len(tags), type(error).__name__)

    def restore_visible(self, start: int = 0, num: int | None = None, interval: int = 1) -> None:
        """Put back what nobody renewed for the visibility timeout. Needs no mutex: each step is one script."""
        del start, num, interval
        try:
            with self.channel.conn_or_acquire() as connected:
                given = give_back_abandoned(connected, self.visibility_timeout)
        except ResponseError as error:
            log.warning("abandoned messages not put back: %s", type(error).__name__)
        else:
            if given:
                log.warning("messages of a dead worker put back: %d", given)


class Channel(redis.Channel):
    """A channel that takes and records in one step."""

    QoS = QoS
    unacked_key = TAKEN
    unacked_index_key = LEASES
    _in_poll: Any  # the connection a reply is awaited on, if one is

    def __init__(self, *args: Any, **kwargs: Any):
        self._plain = False
        self._tracked: object = None
        self._quiet_until = 0.0
        super().__init__(*args, **kwargs)

    def basic_consume(self, queue: str, no_ack: bool, *args: Any, **kwargs: Any) -> Any:
        """Consume; a consumer that does not acknowledge, a reply queue's, is served by BRPOP as ever."""
        self._plain = self._plain or no_ack
        self._quiet_until = 0.0
        return super().basic_consume(queue, no_ack, *args, **kwargs)

    def basic_get(self, queue: str, no_ack: bool = False, **kwargs: Any) -> Any:
        """Take one message at once, or return None."""
        message = super().basic_get(queue, no_ack=False, **kwargs)
        if message is not None and no_ack:
            message.ack()
        return message

    def close(self) -> None:
        """Give everything back, a message on its way as well, and close; the connection may be dead."""
        if self._in_poll and not self._plain:
            with suppress(Empty, *self.connection_errors):
                taken = self._reply(self.client.connection)
                if taken:
                    with self.conn_or_acquire() as client:
                        give_back(client, [bytes_to_str(taken[1])], first=True)
            self._in_poll = None
        super().close()

    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:
        parameters: dict[str, Any] = super()._connparams(asynchronous)
        if asynchronous:
            parameters["protocol"] = 3  # in which a server may speak without being asked
        return parameters

    def _get(self, queue: str) -> dict[str, Any]:
        keys = [self._q_for_pri(queue, priority) for priority in self.priority_steps]
        with self.conn_or_acquire() as client:
            taken = client.eval(*take_arguments(keys, MAX_MESSAGE_BYTES))
        if not taken:
            raise Empty
        return self._open(taken)[0]

    def _open(self, taken: Any) -> tuple[dict[str, Any], str]:
        key, tag, raw, size = taken
        queue = bytes_to_str(key).rsplit(self.sep, 1)[0]
        return open_envelope(raw, size, queue, bytes_to_str(tag)), queue

    # Kombu's poller calls _brpop_start whenever no reply is awaited, and _brpop_read when there is something
    # to read. Here: ask; a message comes, ask again; nothing comes, be quiet until the server speaks up.

    def _brpop_start(self, timeout: float | None = None) -> None:
        if self._plain:
            super()._brpop_start(timeout)
            return
        if leases.ending or time.monotonic() < self._quiet_until:
            return
        queues = self._queue_cycle.consume(len(self.active_queues))
        if not queues:
            return
        keys = [self._q_for_pri(queue, priority) for priority in self.priority_steps for queue in queues]
        connection = self.client.connection
        self._track(connection)
        self._in_poll = connection
        self._brpop_sent_at = time.monotonic()
        connection.send_command("EVAL", *take_arguments(keys, MAX_MESSAGE_BYTES))

    def _track(self, connection: Any) -> None:
        """Have the server announce changes of the keys this connection reads, once per socket."""
        if self._tracked is connection._sock:  # noqa: SLF001 - the poller knows a connection by its socket too
            return
        connection.send_command("CLIENT", "TRACKING", "ON")
        try:
            connection.read_response()
        except ResponseError as error:
            log.warning(
                "an idle worker looks for jobs every %.0f s only, because Redis refuses CLIENT TRACKING (%s); "
                "allow it to the worker's user",
                *(LISTEN_S, type(error).__name__),
            )
        self._tracked = connection._sock  # noqa: SLF001

    def _brpop_read(self, **options: Any) -> bool:
        if self._plain:
            return bool(super()._brpop_read(**options))
        connection = self.client.connection
        if not self._in_poll:
            self._hear(connection)
            raise Empty
        try:
            taken = self._reply(connection)
            if not taken:
                self._quiet_until = time.monotonic() + LISTEN_S
                self._hear(connection)  # what was said right after the reply lies in the buffer already
                raise Empty
            envelope, queue = self._open(taken)
            self._queue_cycle.rotate(queue)
            self.connection._deliver(envelope, queue)  # noqa: SLF001 - as Kombu's own channel does
            return True
        finally:
            self._in_poll = None
            self._flush_brpop_reauth()

    def _reply(self, connection: Any) -> Any:
        try:
            return connection.read_response()
        except ResponseError as error:
            # Read-only, loading, out of memory: it may be over soon, or another server may answer by then.
            log.warning("no jobs from Redis, trying again: %s", type(error).__name__)
            self._quiet_until = time.monotonic() + LISTEN_S
            connection.disconnect()
            raise Empty from None
        except self.connection_errors:
            connection.disconnect()
            raise

    def _hear(self, connection: Any) -> None:
        """Read what the server says unasked; it means that a queue changed."""
        while connection.can_read(timeout=0):
            connection.read_response(push_request=True)
            self._quiet_until = 0.0


class Poller(redis.MultiChannelPoller):
    """A poller for consumers without an event loop, which has timers to wake it."""

    def get(self, callback: Any, timeout: float | None = None) -> Any:
        """Deliver one message or raise ``Empty``."""
        return super().get(callback, timeout=LISTEN_S if timeout is None else min(timeout, LISTEN_S))


class Transport(redis.Transport):
    """The transport: set ``broker_transport`` to it. Producers need nothing of it."""

    Channel = Channel

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.cycle = Poller()
