"""A run through a real queue and a real worker process."""

import signal
import time
from pathlib import Path

import pytest

from tests.integration.bulk.conftest import Bulk, close, fast_worker
from tests.integration.support import Topic, eventually

pytestmark = pytest.mark.integration

ROWS = 1500
SLOW_S = 0.05


def assert_every_row_once(bulk: Bulk, rows: int) -> None:
    records = bulk.records()
    assert [record["row"] for record in records] == list(range(1, rows + 1))
    for record in records:
        number = record["row"]
        assert record["id"] == f"doc-{number}"
        if number % 20 == 7:
            assert record["error"]["code"] == "empty_text"
        else:
            assert record["verdict"] == ("flagged" if number % 10 == 0 else "clean")


def assert_screened_once(topic: Topic, rows: int) -> None:
    """No text was screened twice: every item is on the result topic once, and no more was published."""
    expected = rows - sum(number % 20 == 7 for number in range(1, rows + 1))
    assert topic.redis.xlen("firewall:results") == expected


def published(topic: Topic, least: int) -> bool:
    return int(topic.redis.xlen("firewall:results")) >= least


def test_rows_go_in_and_the_same_rows_come_out(bulk: Bulk, own_topic: Topic, logs: Path) -> None:
    lines = bulk.corpus(ROWS)
    with fast_worker(bulk.url, logs):
        printed = bulk.run("in.jsonl", "--out", "out.jsonl", "--split", "clean.jsonl,flagged.jsonl,rest.jsonl")
    assert_every_row_once(bulk, ROWS)
    assert_screened_once(own_topic, ROWS)
    assert "1,275 clean, 150 flagged (150 critical), 75 not screened (75 empty_text)" in printed
    sorted_rows = [bulk.path(f"{name}.jsonl").read_text().splitlines() for name in ("clean", "flagged", "rest")]
    assert [len(rows) for rows in sorted_rows] == [1275, 150, 75]
    assert sorted(line for rows in sorted_rows for line in rows) == sorted(lines)


def test_alarms_say_which_row_they_are_about(bulk: Bulk, own_topic: Topic, logs: Path) -> None:
    bulk.corpus(10)
    with fast_worker(bulk.url, logs):
        bulk.run("in.jsonl", "--out", "out.jsonl")
    [entry] = own_topic.redis.xrange("firewall:alarms")
    assert '"item_id":"doc-10"' in entry[1]["event"]
    assert '"metadata":{"input":"in.jsonl","row":10}' in entry[1]["event"]


@pytest.mark.parametrize("order", ["input", "arrival"])
def test_killed_twice_and_resumed_every_row_is_there_once(bulk: Bulk, own_topic: Topic, logs: Path, order: str) -> None:
    bulk.corpus(ROWS)
    command = ("in.jsonl", "--out", "out.jsonl", "--items-per-job", "20", "--in-flight", "300", "--order", order)
    with fast_worker(bulk.url, logs, SLOW_S):
        for least in (200, 700):
            process = bulk.start(*command, "--resume")
            eventually(lambda least=least: published(own_topic, least), "some results")
            process.send_signal(signal.SIGKILL)
            close(process)
            assert bulk.checkpoint()["status"] == "running"
        bulk.run(*command, "--resume")
    if order == "arrival":
        assert sorted(record["row"] for record in bulk.records()) == list(range(1, ROWS + 1))
    else:
        assert_every_row_once(bulk, ROWS)
    assert_screened_once(own_topic, ROWS)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_stops_and_resume_goes_on(bulk: Bulk, own_topic: Topic, logs: Path, number: signal.Signals) -> None:
    bulk.corpus(ROWS)
    command = ("in.jsonl", "--out", "out.jsonl", "--items-per-job", "20", "--in-flight", "300")
    with fast_worker(bulk.url, logs, SLOW_S):
        process = bulk.start(*command)
        eventually(lambda: published(own_topic, 200), "some results")
        process.send_signal(number)
        assert process.wait(30) == 130
        close(process)
        assert bulk.checkpoint()["status"] == "interrupted"
        bulk.run(*command, "--resume")
    assert_every_row_once(bulk, ROWS)
    assert_screened_once(own_topic, ROWS)


def test_a_killed_worker_costs_no_row(bulk: Bulk, own_topic: Topic, logs: Path) -> None:
    bulk.corpus(ROWS)
    with fast_worker(bulk.url, logs, SLOW_S) as worker:
        process = bulk.start("in.jsonl", "--out", "out.jsonl", "--items-per-job", "20", "--in-flight", "300")
        eventually(lambda: published(own_topic, 200), "some results")
        worker.kill()
        worker.wait()
    with fast_worker(bulk.url, logs):
        assert process.wait(90) == 0
    close(process)
    assert_every_row_once(bulk, ROWS)
    assert_screened_once(own_topic, ROWS)


def test_the_queue_never_holds_more_than_what_may_be_in_flight(bulk: Bulk, own_topic: Topic) -> None:
    bulk.corpus(ROWS)
    process = bulk.start("in.jsonl", "--out", "out.jsonl", "--items-per-job", "20", "--in-flight", "200")
    eventually(lambda: own_topic.redis.llen("screening.bulk") == 10, "ten jobs")
    time.sleep(1)
    assert own_topic.redis.llen("screening.bulk") == 10
    process.kill()
    close(process)


def test_status_and_cancel(bulk: Bulk, own_topic: Topic, logs: Path) -> None:
    bulk.corpus(ROWS)
    command = ("in.jsonl", "--out", "out.jsonl", "--items-per-job", "20", "--in-flight", "200")
    process = bulk.start(*command)
    eventually(lambda: own_topic.redis.llen("screening.bulk") == 10, "ten jobs")
    run = bulk.checkpoint()["run"]
    eventually(lambda: f'"run": "{run}", "status": "running"' in bulk.run("status", run, "--json"), "its entry")
    assert run in bulk.run("status")
    assert "is cancelled" in bulk.run("cancel", run)
    assert process.wait(30) == 69
    close(process)
    assert own_topic.redis.llen("screening.bulk") == 0
    assert '"status": "cancelled"' in bulk.run("status", run, "--json")
    assert "run_conflict" in bulk.run(*command, code=65)
    with fast_worker(bulk.url, logs):
        bulk.run(*command, "--resume")
    assert_every_row_once(bulk, ROWS)
    assert_screened_once(own_topic, ROWS)


def test_an_unknown_run_is_said_so(bulk: Bulk) -> None:
    assert "no run nobody" in bulk.run("status", "nobody", code=65)
    assert "no run nobody" in bulk.run("cancel", "nobody", code=65)


def test_jobs_that_redis_lost_are_sent_again(bulk: Bulk, own_topic: Topic, logs: Path, monkeypatch: object) -> None:
    from redis import Redis

    from tasks.bulk.queue import QueueBackend
    from worker.bulk.chunks import JobFields, cut
    from worker.bulk.rows import Row

    redis = Redis.from_url(bulk.url, decode_responses=True, protocol=2)
    backend = QueueBackend(redis, "lost", silence_s=1.0)
    rows = [Row("in", number, f"doc-{number}", f"the report {number}") for number in range(1, 41)]
    for chunk in cut(rows, JobFields("lost", "document", "default", None), items=20):
        backend.submit(chunk)
    redis.rpop("screening.bulk")
    with fast_worker(bulk.url, logs):
        done = {found.number: found for found in backend.collect(1)}
        deadline = time.monotonic() + 45
        while len(done) < 2 and time.monotonic() < deadline:
            done |= {found.number: found for found in backend.collect(0.2)}
    backend.close("finished")
    redis.close()
    assert sorted(done) == [0, 1]
    assert all(len(found.results) == 20 for found in done.values())
    assert backend.again() == {0: 1}
    assert own_topic.redis.xlen("firewall:results") == 40
