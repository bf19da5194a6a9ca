"""submit, watch and health against the running worker."""

import json
import subprocess
import sys
import time
import uuid
from importlib.metadata import version
from pathlib import Path

import pytest

from schemas.event import AlarmEvent
from tests.integration.support import (
    ATTACK,
    HARMLESS,
    Producer,
    Topic,
    Worker,
    clean_environment,
    eventually,
)
from worker.topic.server import free_port

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("worker")]


def run(url: str, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "tasks", *arguments],
        env=clean_environment(REDIS_URL=url, COLUMNS="400"),
        input=stdin,
        capture_output=True,
        timeout=60,
        check=False,
    )
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


@pytest.fixture
def alarmed(producer: Producer, topic: Topic) -> list[str]:
    """Ids of two alarms that are on the topic."""
    jobs = [producer.send(ATTACK).job_id for _ in range(2)]
    for job_id in jobs:
        topic.results(job_id, 1)
    return [topic.alarms(job_id)[0]["id"] for job_id in jobs]


def test_submit_says_what_it_queued_and_does_not_wait(url: str, topic: Topic) -> None:
    done = run(url, "submit", HARMLESS, "--json")
    assert done.returncode == 0, done.stderr
    (event,) = topic.results(json.loads(done.stdout)["job_id"], 1)
    assert event["data"]["verdict"] == "clean"


def test_submit_wait_is_0_for_a_harmless_text(url: str) -> None:
    done = run(url, "submit", HARMLESS, "--wait", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["verdict"] == "clean"


def test_submit_wait_is_1_for_an_attack(url: str, topic: Topic) -> None:
    job_id = str(uuid.uuid4())
    done = run(url, "submit", ATTACK, "--wait", "--json", "--job-id", job_id, "--source", "web")
    assert done.returncode == 1, done.stderr
    result = json.loads(done.stdout)
    assert (result["verdict"], result["job_id"], result["source"]) == ("flagged", job_id, "web")
    assert len(topic.alarms(job_id)) == 1


def test_submit_wait_shows_verdict_and_text(url: str) -> None:
    done = run(url, "submit", ATTACK, "--wait")
    assert done.returncode == 1, done.stderr
    assert "ACCESS GRANTED" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("",), "empty_text"),
        (("hello", "--source", "fax"), "invalid_field"),
        (("no-such-mail.txt",), "invalid_field"),
    ],
    ids=["empty", "source", "no such file"],
)
def test_submit_of_what_would_be_refused_is_65_and_queues_nothing(
    url: str, topic: Topic, arguments: tuple[str, ...], code: str
) -> None:
    before = int(topic.redis.xlen("firewall:results"))
    done = run(url, "submit", *arguments, "--wait", "--json")
    assert done.returncode == 65, done.stderr
    assert code in done.stderr
    assert topic.idle()
    assert int(topic.redis.xlen("firewall:results")) == before


def test_submit_of_a_path_as_a_text(url: str) -> None:
    done = run(url, "submit", "no-such-mail.txt", "--text", "--wait", "--json")
    assert json.loads(done.stdout)["characters"] == len("no-such-mail.txt")


def test_version(url: str) -> None:
    done = run(url, "--version")
    assert (done.returncode, done.stdout.strip()) == (0, version("alknet-firewall"))


def test_submit_reads_a_file_and_standard_input(url: str, tmp_path: Path) -> None:
    mail = tmp_path / "mail.txt"
    mail.write_text(ATTACK, encoding="utf-8")
    assert run(url, "submit", str(mail), "--wait", "--json").returncode == 1
    from_stdin = run(url, "submit", "-", "--wait", "--json", "--bulk", stdin=HARMLESS.encode())
    assert from_stdin.returncode == 0
    assert json.loads(from_stdin.stdout)["item_id"] == "stdin"


def test_submit_of_bytes_that_are_no_text_is_65(url: str) -> None:
    done = run(url, "submit", "-", stdin=b"\xff\xfe\xff")
    assert done.returncode == 65
    assert "invalid_unicode" in done.stderr


@pytest.mark.parametrize("command", [("submit", HARMLESS), ("watch", "--count", "1")], ids=["submit", "watch"])
def test_without_redis_the_address_is_named_and_the_password_is_not(command: tuple[str, ...]) -> None:
    port = free_port()
    done = run(f"redis://user:hunter2@127.0.0.1:{port}/0", *command)
    assert done.returncode == 69
    assert f"127.0.0.1:{port}" in done.stderr
    assert "service_unavailable" in done.stderr
    assert "hunter2" not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_watch_prints_what_the_stream_keeps_as_json_lines(url: str, alarmed: list[str], topic: Topic) -> None:
    kept = int(topic.redis.xlen("firewall:alarms"))
    done = run(url, "watch", "--from-start", "--json", "--count", str(kept))
    assert done.returncode == 0, done.stderr
    events = [AlarmEvent.model_validate_json(line) for line in done.stdout.splitlines()]
    assert len(events) == kept
    assert {*alarmed} <= {event.id for event in events}


def test_watch_follows_what_comes_while_it_runs(url: str, producer: Producer, topic: Topic) -> None:
    watcher = subprocess.Popen(
        [sys.executable, "-m", "tasks", "watch", "--json", "--count", "1"],
        env=clean_environment(REDIS_URL=url),
        stdout=subprocess.PIPE,
    )
    try:
        eventually(lambda: reading(topic), "the watcher to read")
        sent = producer.send(ATTACK)
        output, _ = watcher.communicate(timeout=30)
    finally:
        if watcher.poll() is None:
            watcher.kill()
            watcher.wait()
        if watcher.stdout:
            watcher.stdout.close()
    assert watcher.returncode == 0
    assert AlarmEvent.model_validate_json(output).data.job_id == sent.job_id


def reading(topic: Topic) -> bool:
    return any(client["cmd"] == "xread" for client in topic.redis.client_list())


def test_watch_results_shows_errors_too(url: str, producer: Producer, topic: Topic) -> None:
    sent = producer.send("")
    topic.results(sent.job_id, 1)
    kept = int(topic.redis.xlen("firewall:results"))
    done = run(url, "watch", "--results", "--from-start", "--count", str(kept))
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if sent.job_id in line]
    assert "empty_text" in line


def test_watch_stops_when_nothing_comes(url: str) -> None:
    begun = time.monotonic()
    assert run(url, "watch", "--idle", "0.5").returncode == 0
    assert time.monotonic() - begun < 30


def test_members_of_a_group_share_the_alarms(url: str, alarmed: list[str], topic: Topic) -> None:
    group = f"g-{uuid.uuid4()}"
    kept = int(topic.redis.xlen("firewall:alarms"))
    everything = run(url, "watch", "--group", group, "--consumer", "a", "--json", "--idle", "0.5")
    nothing = run(url, "watch", "--group", group, "--consumer", "b", "--json", "--idle", "0.5")
    seen = [AlarmEvent.model_validate_json(line).id for line in everything.stdout.splitlines()]
    assert len(seen) == kept
    assert {*alarmed} <= {*seen}
    assert nothing.stdout == ""
    assert topic.redis.xpending("firewall:alarms", group)["pending"] == 0


def test_a_member_that_stops_after_one_goes_on_with_the_next(url: str, alarmed: list[str]) -> None:
    group = f"g-{uuid.uuid4()}"
    command = ("watch", "--group", group, "--consumer", "a", "--json", "--count", "1")
    first, second = run(url, *command), run(url, *command)
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert first.stdout != second.stdout


def test_health_is_0_while_the_worker_is_ready(worker: Worker, url: str) -> None:
    done = run(url, "health", "--file", str(worker.health))
    assert (done.returncode, done.stdout) == (0, "ready\n")


def test_health_is_1_without_a_worker(url: str, tmp_path: Path) -> None:
    done = run(url, "health", "--file", str(tmp_path / "none"))
    assert (done.returncode, done.stdout) == (1, "not ready\n")
