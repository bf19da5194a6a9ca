"""Screened text never shows in logs, Celery events or remote-control replies. Producers here do not hide it."""

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from redis import Redis

from tests.integration.support import ATTACK, HARMLESS, UNACKED, Producer, Sent, Topic, Worker, item, producing, ready

pytestmark = pytest.mark.integration

N_DOCUMENTS = 60
"""Texts of a job that is still running when it is asked about, on any machine."""

MARKER = "XQZMARKERZQX"
SECRETS = (MARKER, "ACCESS GRANTED")
"""Parts of the texts sent; the second is the flagged one's."""


class Stage:
    """A worker that logs at DEBUG and gives excerpts, the strictest case, with its producer and topic."""

    def __init__(self, worker: Worker, producer: Producer, topic: Topic) -> None:
        self.worker, self.producer, self.topic = worker, producer, topic


@pytest.fixture(scope="module")
def stage(redis_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    url = f"{redis_server}/1"
    environment = {"FIREWALL_LOG_LEVEL": "DEBUG", "FIREWALL_EVIDENCE_EXCERPTS": "true"}
    with (
        ready(url, tmp_path_factory.mktemp("private"), environment=environment) as worker,
        producing(url) as producer,
        Redis.from_url(url, decode_responses=True) as redis,
    ):
        yield Stage(worker, producer, Topic(redis))


def screen_marked_texts(producer: Producer, topic: Topic) -> list[Sent]:
    """Send the marker in every kind of text and wait until all is answered."""
    items = [
        item("good", f"{HARMLESS} {MARKER}"),
        item("flagged", ATTACK),
        item("nul", f"{MARKER}\x00"),
        item("surrogate", f"{MARKER} \ud83d"),
        item("long", MARKER * 30_000),
        item("type", [MARKER]),
        {**item("field", HARMLESS), MARKER: MARKER},
        {**item("metadata", HARMLESS), "metadata": {"x": {MARKER: MARKER}}},
    ]
    sent = producer.send(items=items, ask=True)
    twins = producer.send(items=[item("twin", MARKER), item("twin", MARKER)])
    topic.results(sent.job_id, len(items))
    topic.results(twins.job_id, 2)
    assert topic.alarms(sent.job_id), "nothing was flagged, so that case was not seen"
    no_job = producer.send_raw([MARKER])
    by_keyword = producer.send_raw([], {"text": MARKER})
    topic.results(no_job.id, 1)
    topic.results(by_keyword.id, 1)
    return [sent, twins, no_job, by_keyword]


def test_the_log_at_its_usual_level_holds_no_text(worker: Worker, producer: Producer, topic: Topic) -> None:
    sent = screen_marked_texts(producer, topic)
    assert all(pending.id in worker.log for pending in sent), "the log speaks of these jobs"
    assert not [secret for secret in SECRETS if secret in worker.log]


def test_the_log_at_debug_level_holds_no_text(stage: Stage) -> None:
    sent = screen_marked_texts(stage.producer, stage.topic)
    assert all(pending.id in stage.worker.log for pending in sent)
    assert not [secret for secret in SECRETS if secret in stage.worker.log]


def test_excerpts_that_were_switched_on_stay_out_of_the_log(stage: Stage) -> None:
    sent = stage.producer.send(ATTACK, ask=True)
    (event,) = stage.topic.results(sent.job_id, 1)
    excerpts = [span["excerpt"] for span in event["data"]["evidence"] if len(span["excerpt"]) > 10]
    assert excerpts, "they are in the result, as asked for"
    assert sent.id in stage.worker.log
    assert not [excerpt for excerpt in excerpts if excerpt in stage.worker.log]


def test_celery_events_hold_no_text(stage: Stage) -> None:
    app = stage.producer.app
    app.control.enable_events(reply=True, timeout=10, limit=1)  # the first event must not come too soon
    events: list[dict[str, Any]] = []
    listening, done = threading.Event(), threading.Event()

    def listen() -> None:
        with app.connection_for_read() as outer:
            receiver = app.events.Receiver(outer, handlers={"*": events.append})
            with receiver.consumer_context() as (connection, _, _):
                listening.set()
                while not done.is_set():
                    try:
                        connection.drain_events(timeout=0.2)
                    except TimeoutError:
                        continue

    thread = threading.Thread(target=listen)
    thread.start()
    try:
        assert listening.wait(10)
        sent = screen_marked_texts(stage.producer, stage.topic)
        deadline = time.monotonic() + 10
        wanted = {pending.id for pending in sent}
        while {e.get("uuid") for e in list(events) if e["type"] == "task-succeeded"} < wanted:
            assert time.monotonic() < deadline, [e["type"] for e in events]
            time.sleep(0.05)
    finally:
        done.set()
        thread.join()
        app.control.disable_events()
    assert {"task-received", "task-started"} <= {event["type"] for event in events}
    assert not [event for event in events if event.keys() & {"result", "exception", "traceback"}]
    told = json.dumps(events, default=str)
    assert not [secret for secret in SECRETS if secret in told]


def test_remote_control_replies_hold_no_text(stage: Stage) -> None:
    document = f"{MARKER} The treasurer read the water meter and thanked the hedge volunteers. " * 60
    sent = stage.producer.send(*[document] * N_DOCUMENTS)
    inspect = stage.producer.app.control.inspect(timeout=0.3, limit=1)
    while not (active := str(inspect.active())).count(sent.id):
        assert stage.topic.queued() or stage.topic.redis.hlen(UNACKED), "the job was over too soon to look"
    replies = [active, str(inspect.query_task(sent.id)), str(inspect.reserved()), str(inspect.stats())]
    assert sent.id in replies[1]
    assert MARKER not in "".join(replies)
    stage.topic.results(sent.job_id, N_DOCUMENTS)
