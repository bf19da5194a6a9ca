"""Messages that are no task call: the worker lives, the next job is screened, no text is logged."""

import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from redis import Redis

from tests.integration.support import HARMLESS, Producer, Topic, Worker, producing, ready

pytestmark = pytest.mark.integration

MARKER = "XQZBODYZQX"


class Ward:
    """A worker that is replaced when a message killed it, so that each test speaks for itself."""

    def __init__(self, stack: ExitStack, url: str, logs: Path) -> None:
        self.redis = stack.enter_context(Redis.from_url(url, decode_responses=True))
        self.producer: Producer = stack.enter_context(producing(url))
        self._start = lambda: stack.enter_context(ready(url, logs))
        self.worker: Worker = self._start()

    def revive(self) -> None:
        if self.worker.process.poll() is not None:
            self.redis.flushdb()
            self.worker = self._start()

    def push(self, body: str, content_type: str = "application/json") -> None:
        """Put a message with a body of our choice onto the queue, as a faulty producer would."""
        task = "alknet_firewall.screen"
        with self.producer.app.producer_or_acquire() as channel:
            channel.publish(
                body,
                routing_key="screening",
                exchange="screening",
                content_type=content_type,
                content_encoding="utf-8",
                headers={"task": task, "id": str(uuid.uuid4()), "lang": "py", "argsrepr": body},
                serializer=None,
            )

    def assert_goes_on(self) -> None:
        sent = self.producer.send(HARMLESS)
        Topic(self.redis).results(sent.job_id, 1, timeout=10)
        assert self.worker.process.poll() is None


@pytest.fixture(scope="module")
def module_ward(redis_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ward]:
    with ExitStack() as stack:
        yield Ward(stack, f"{redis_server}/63", tmp_path_factory.mktemp("ward"))


@pytest.fixture
def ward(module_ward: Ward) -> Ward:
    module_ward.revive()
    return module_ward


BODIES = {
    "keywords are a list": (f'[["{MARKER}"], ["{MARKER}"], {{}}]', "application/json"),
    "broken JSON": (f'[["{MARKER}", {{', "application/json"),
    "pickle": (MARKER, "application/x-python-serialize"),
    "no task call": (f'"{MARKER}"', "application/json"),
    "too short": (f'[["{MARKER}"]]', "application/json"),
    "older protocol": (f'{{"task": "alknet_firewall.screen", "args": ["{MARKER}"]}}', "application/json"),
}


@pytest.mark.parametrize(("body", "content_type"), BODIES.values(), ids=BODIES)
def test_a_body_that_is_no_task_call_harms_nobody(ward: Ward, body: str, content_type: str) -> None:
    ward.push(body, content_type)
    ward.assert_goes_on()
    assert MARKER not in ward.worker.log


def test_an_unknown_task_harms_nobody(ward: Ward) -> None:
    ward.producer.app.send_task("no.such.task", args=[MARKER], queue="screening")
    ward.assert_goes_on()
    assert "no.such.task" in ward.worker.log
    assert MARKER not in ward.worker.log


KOMBU_HOLE = pytest.mark.xfail(strict=True, reason="kombu's Redis channel raises before any consumer sees the element")


@pytest.mark.parametrize(
    "element",
    [
        pytest.param(f"not JSON {MARKER}", marks=KOMBU_HOLE, id="not JSON"),
        pytest.param(f'{{"{MARKER}": 1}}', id="JSON"),
    ],
)
def test_a_list_element_that_celery_did_not_write_harms_nobody(ward: Ward, element: str) -> None:
    ward.redis.lpush("screening", element)
    ward.assert_goes_on()
    assert MARKER not in ward.worker.log
