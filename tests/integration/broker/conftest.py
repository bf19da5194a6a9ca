from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from kombu import Connection, Consumer, Queue

TRANSPORT = "tasks.broker.transport:Transport"
QUEUES = [Queue("screening"), Queue("screening.bulk")]


class Party:
    """One consumer with a connection of its own."""

    def __init__(self, stack: ExitStack, url: str, **options: Any) -> None:
        options = {"visibility_timeout": 60, **options}
        self.connection = stack.enter_context(Connection(url, transport=TRANSPORT, transport_options=options))
        self.messages: list[Any] = []
        self.consumer = Consumer(
            self.connection, QUEUES, on_message=self.messages.append, accept=["json"], prefetch_count=10
        )
        self.consumer.consume()

    @property
    def channel(self) -> Any:
        return self.consumer.channel

    def drain(self, timeout: float = 5) -> Any:
        """Return the next message."""
        count = len(self.messages)
        while len(self.messages) == count:
            self.connection.drain_events(timeout=timeout)
        return self.messages[-1]

    def sweep(self) -> None:
        self.channel.qos.restore_visible()


@pytest.fixture
def own_url(every_url: str) -> str:
    return every_url


@pytest.fixture
def join(own_url: str) -> Iterator[Callable[..., Party]]:
    """Connect a consumer; plain Kombu producers are the tests' own business."""
    with ExitStack() as stack:
        yield lambda **options: Party(stack, own_url, **options)


@pytest.fixture
def send(own_url: str) -> Iterator[Callable[..., None]]:
    """Publish with Kombu's own transport, as any producer does."""
    with Connection(own_url) as connection, connection.Producer() as producer:
        yield lambda body, queue="screening", **options: producer.publish(
            body, routing_key=queue, declare=QUEUES, serializer="json", **options
        )
