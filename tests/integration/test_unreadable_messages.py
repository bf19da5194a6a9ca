"""Messages that are no task call: the worker lives, the next job is screened, no text is logged."""

import base64
import json
import uuid
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from redis import Redis

from schemas.export import json_schema
from schemas.limits import MAX_MESSAGE_BYTES
from tasks.consumer import MAX_KEPT
from tests.integration.support import HARMLESS, UNACKED, Producer, Topic, Worker, eventually, producing, ready
from tests.planted import planted_pickle

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

    def push(self, body: str, content_type: str = "application/json") -> str:
        """Put a message with a body of our choice onto the queue, as a faulty producer would; return its id."""
        task, task_id = "alknet_firewall.screen", str(uuid.uuid4())
        with self.producer.app.producer_or_acquire() as channel:
            channel.publish(
                body,
                routing_key="screening",
                exchange="screening",
                content_type=content_type,
                content_encoding="utf-8",
                headers={"task": task, "id": task_id, "lang": "py", "argsrepr": body[:1000]},
                serializer=None,
            )
        return task_id

    def assert_buried(self, payload: str, task_id: str | None = None) -> None:
        """One dead letter has the payload and a reason, and nothing of it was executed."""

        def found() -> list[dict[str, Any]]:
            events = [json.loads(fields["event"]) for _, fields in self.redis.xrange("firewall:dead")]
            return [event for event in events if event["data"]["payload"] == payload]

        (event,) = eventually(found, "the dead letter", 10)[-1:]
        jsonschema.Draft202012Validator(json_schema("dead-letter-event")).validate(event)
        data = event["data"]
        assert (data["error"]["code"], data["error"]["retryable"]) == ("unreadable_message", False)
        assert data["error"]["message"]
        assert MARKER not in data["error"]["message"]
        assert data["queue"] == "screening"
        if task_id is not None:
            assert data["task_id"] == event["subject"] == task_id
            assert f"job done task={task_id}" not in self.worker.log
        subjects = [json.loads(fields["event"])["subject"] for _, fields in self.redis.xrange("firewall:results")]
        assert data["task_id"] not in subjects
        eventually(lambda: not self.redis.hlen(UNACKED), "nothing left unacknowledged", 10)

    def assert_goes_on(self) -> None:
        sent = self.producer.send(HARMLESS)
        Topic(self.redis).results(sent.job_id, 1, timeout=10)
        assert self.worker.process.poll() is None


@pytest.fixture(scope="module")
def module_ward(new_url: Callable[[], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ward]:
    with ExitStack() as stack:
        yield Ward(stack, new_url(), tmp_path_factory.mktemp("ward"))


@pytest.fixture
def ward(module_ward: Ward) -> Ward:
    module_ward.revive()
    return module_ward


BODIES = {
    "keywords are a list": (f'[["{MARKER}"], ["{MARKER}"], {{}}]', "application/json"),
    "broken JSON": (f'[["{MARKER}", {{', "application/json"),
    "pickle": (MARKER, "application/x-python-serialize"),
    "YAML": (f"!!python/object/apply:os.system ['{MARKER}']", "application/x-yaml"),
    "plain text": (MARKER, "text/plain"),
    "a content type that is none": (MARKER, "\x00"),
    "no task call": (f'"{MARKER}"', "application/json"),
    "too short": (f'[["{MARKER}"]]', "application/json"),
    "nested too deep": ("[" * 100_000 + f'"{MARKER}"' + "]" * 100_000, "application/json"),
}


@pytest.mark.parametrize(("body", "content_type"), BODIES.values(), ids=BODIES)
def test_a_body_that_is_no_task_call_harms_nobody(ward: Ward, body: str, content_type: str) -> None:
    task_id = ward.push(body, content_type)
    ward.assert_goes_on()
    ward.assert_buried(body, task_id)
    assert MARKER not in ward.worker.log


@pytest.mark.parametrize("content_type", ["application/x-python-serialize", "pickle", "application/json", "binary"])
def test_a_pickle_is_buried_and_not_executed(ward: Ward, tmp_path: Path, content_type: str) -> None:
    trace = tmp_path / "was-executed"
    message = {
        "body": base64.b64encode(planted_pickle(trace)).decode(),
        "content-type": content_type,
        "content-encoding": "binary",
        "headers": {"task": "alknet_firewall.screen", "id": str(uuid.uuid4()), "lang": "py"},
        "properties": {"body_encoding": "base64", "delivery_tag": str(uuid.uuid4()), "delivery_info": {}},
    }
    before = int(ward.redis.xlen("firewall:dead"))
    ward.redis.lpush("screening", json.dumps(message))
    ward.assert_goes_on()
    assert ward.redis.xlen("firewall:dead") == before + 1
    assert not trace.exists()


def test_a_call_by_the_older_protocol_is_answered_as_no_job(ward: Ward) -> None:
    task_id = ward.push(f'{{"task": "alknet_firewall.screen", "args": ["{MARKER}"]}}')
    ward.assert_goes_on()
    (event,) = Topic(ward.redis).letters(task_id)
    assert event["data"]["error"]["code"] in {"not_a_job", "unreadable_message"}
    assert MARKER in event["data"]["payload"]
    assert MARKER not in ward.worker.log


def test_an_unknown_task_harms_nobody(ward: Ward) -> None:
    sent = ward.producer.app.send_task("no.such.task", args=[MARKER], queue="screening")
    ward.assert_goes_on()
    (event,) = Topic(ward.redis).letters(sent.id)
    assert event["data"]["error"]["code"] == "unreadable_message"
    assert "no.such.task" in event["data"]["error"]["message"]
    assert MARKER in event["data"]["payload"]
    assert "no.such.task" in ward.worker.log
    assert MARKER not in ward.worker.log


def envelope(body: str, encoding: str, **headers: Any) -> str:
    return json.dumps({"body": body, "headers": headers, "properties": {"body_encoding": encoding}})


ELEMENTS = {
    "not JSON": (f"not JSON {MARKER}", "not JSON"),
    "not UTF-8": (b"\xff\xfe" + MARKER.encode(), "not JSON"),
    "JSON": (f'{{"{MARKER}": 1}}', "no Celery message"),
    "a number": ("42", "no Celery message"),
    "nested too deep": ("[" * 100_000 + "]" * 100_000, "not JSON"),
    "not base64": (envelope(MARKER[:-1], "base64"), "not base64"),
    "unknown encoding": (envelope(MARKER, "rot13"), "use base64"),
    "a bomb": (
        envelope(
            base64.b64encode(zlib.compress(bytes(200_000_000), 9)).decode(),
            "base64",
            compression="application/x-gzip",
            task="alknet_firewall.screen",
            id="bomb",
        ),
        "unpacks to more than",
    ),
    "hostile headers": (envelope(MARKER, "utf-8", task=["alknet_firewall.screen"]), "header task has a wrong type"),
    "larger than a message may be": (b"x" * (MAX_MESSAGE_BYTES + 1), f"{MAX_MESSAGE_BYTES + 1} bytes"),
    "100 MB": (envelope("x" * 100_000_000, "utf-8", task="alknet_firewall.screen", id="huge"), "bytes, the limit is"),
}


@pytest.mark.parametrize(("element", "reason"), ELEMENTS.values(), ids=ELEMENTS)
def test_a_list_element_that_celery_did_not_write_is_buried(ward: Ward, element: str | bytes, reason: str) -> None:
    before = int(ward.redis.xlen("firewall:dead"))
    ward.redis.lpush("screening", element)
    ward.assert_goes_on()
    assert MARKER not in ward.worker.log
    events = [json.loads(fields["event"]) for _, fields in ward.redis.xrevrange("firewall:dead")]
    assert len(events) == before + 1
    data = events[0]["data"]
    assert data["error"]["code"] == "unreadable_message"
    assert reason in data["error"]["message"]
    assert len(data["payload"]) <= MAX_KEPT
    raw = element if isinstance(element, bytes) else element.encode()
    assert data["payload"] == raw.decode("utf-8", "replace")[:MAX_KEPT]
    assert not ward.redis.hlen(UNACKED)
