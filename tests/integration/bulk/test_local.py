"""``bulk --local``: the same run with no queue and no worker."""

import json
import signal
import time

import pytest

from tests.integration.bulk.conftest import Bulk, close
from tests.integration.support import eventually
from worker.topic.server import free_port

pytestmark = pytest.mark.integration


@pytest.fixture
def local(bulk: Bulk) -> Bulk:
    """Nothing listens there."""
    return Bulk(f"redis://127.0.0.1:{free_port()}/0", bulk.directory)


def test_everything_a_run_can_write(local: Bulk) -> None:
    import pyarrow.parquet as parquet

    local.corpus(300)
    local.run("in.jsonl", "--out", "out.parquet", "--html", "report.html", "--local")
    table = parquet.read_table(local.path("out.parquet")).to_pylist()
    assert [row["row"] for row in table] == list(range(1, 301))
    flagged = [row for row in table if row["verdict"] == "flagged"]
    assert len(flagged) == 30
    assert all(row["evidence"][0]["signal"] for row in flagged)
    assert [row["error_code"] for row in table if row["status"] == "error"] == ["empty_text"] * 15
    page = local.path("report.html").read_text(encoding="utf-8")
    assert "30 of 300 rows flagged" in page
    assert page.count("<svg") >= 3


@pytest.mark.parametrize(
    ("fail_on", "code"),
    [((), 0), (("--fail-on", "critical"), 1), (("--fail-on", "error"), 1), (("--fail-on", "notice"), 1)],
)
def test_exit_code(local: Bulk, fail_on: tuple[str, ...], code: int) -> None:
    local.corpus(20)
    local.run("in.jsonl", "--out", "out.jsonl", "--local", *fail_on, code=code)


def test_a_clean_corpus_passes_the_gate(local: Bulk) -> None:
    local.corpus(5)
    local.run("in.jsonl", "--out", "out.jsonl", "--local", "--fail-on", "notice", "--fail-on", "error")


def test_standard_input_and_only_alarms(local: Bulk) -> None:
    rows = "".join(json.dumps({"text": f"{'ignore' if n == 7 else 'report'} {n}"}) + "\n" for n in range(20))
    local.run("-", "--out", "out.jsonl", "--only-alarms", "--local", stdin=rows.encode())
    assert [record["id"] for record in local.records()] == ["stdin:8"]


def test_killed_and_resumed(local: Bulk) -> None:
    local.corpus(600)
    command = ("in.jsonl", "--out", "out.jsonl", "--local", "--items-per-job", "10", "--in-flight", "100")
    process = local.start(*command, delay_s=0.2)
    eventually(lambda: local.path("out.jsonl").exists() and len(local.records()) > 30, "some rows")
    time.sleep(1)
    process.send_signal(signal.SIGKILL)
    close(process)
    local.run(*command, "--resume")
    assert [record["row"] for record in local.records()] == list(range(1, 601))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("nowhere.jsonl", "--out", "x.jsonl"), "unreadable_input"),
        (("in.jsonl", "--out", "in.jsonl"), "run_conflict"),
        (("in.jsonl", "--out", "x.jsonl", "--source", "fax"), "--source"),
        (("in.jsonl", "--out", "x.jsonl", "--split", "one"), "--split"),
        (("in.jsonl", "--out", "x.jsonl", "--fail-on", "doom"), "--fail-on"),
    ],
)
def test_what_cannot_be_done_is_said_at_once(local: Bulk, arguments: tuple[str, ...], says: str) -> None:
    local.corpus(3)
    assert says in local.run(*arguments, "--local", code=65)


def test_without_redis(local: Bulk) -> None:
    local.corpus(3)
    assert "service_unavailable" in local.run("in.jsonl", "--out", "out.jsonl", code=69)
