"""A consumer that is killed at a step of our choice: ``python -m … URL TRANSPORT STEP``."""

import os
import signal
import sys
from typing import Any

import kombu.transport.redis
from kombu import Connection, Consumer, Queue

import tasks.broker.transport

STEPS: dict[str, tuple[type, str]] = {
    # Kombu: the message has left its list and is not noted as unacknowledged yet.
    "popped": (kombu.transport.redis.QoS, "append"),
    # Ours: the server has run the script, the reply has not been read.
    "asked": (tasks.broker.transport.Channel, "_brpop_read"),
    # Ours: the reply has been read, nothing has been done with it.
    "read": (tasks.broker.transport.Channel, "_open"),
    # Ours: the message has been opened, no consumer has seen it.
    "opened": (tasks.broker.transport.QoS, "append"),
}


def die(*_: Any, **__: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def main(url: str, transport: str, step: str) -> None:
    owner, method = STEPS[step]
    setattr(owner, method, die)
    with (
        Connection(url, transport=transport) as connection,
        Consumer(connection, [Queue("screening")], callbacks=[die], accept=["json"]),
    ):
        connection.drain_events(timeout=30)


if __name__ == "__main__":
    main(*sys.argv[1:])
