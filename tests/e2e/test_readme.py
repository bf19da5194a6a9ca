"""The README's commands and code do what it says, against a real Redis and a real worker."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.demo.stack import running_worker
from worker.topic.server import running_redis

README = Path("README.md").read_text(encoding="utf-8")
URL = "redis://127.0.0.1:6379/0"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


@pytest.fixture(scope="module")
def redis_url():
    with running_redis() as url, running_worker(url, {"HF_HUB_OFFLINE": "1"}):
        yield url


def run(command: list[str], redis_url: str) -> str:
    done = subprocess.run(
        command,
        env={**os.environ, "REDIS_URL": redis_url, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout


def test_python_blocks_run_in_order_and_print_a_verdict(redis_url):
    enqueue, read = blocks("python")
    flagged = run([sys.executable, "-c", enqueue.replace(URL, redis_url)], redis_url)
    assert flagged.startswith("flagged ")
    assert "turn-8412 user-turn flagged" in run([sys.executable, "-c", read.replace(URL, redis_url)], redis_url)


def test_every_command_named_exists(redis_url):
    named = set(re.findall(r"alknet-firewall ([a-z-]+)(?= |$|\n)", README)) - {"demo"}
    listed = run([sys.executable, "-m", "tasks", "--help"], redis_url)
    assert {"dead-letters", "worker", "submit", "watch", "evaluate", "inspect", "download", "calibrate"} <= named
    assert all(re.search(rf"│ {name} ", listed) for name in named)


def test_the_submit_example_raises_an_alarm_that_watch_shows(redis_url):
    example = re.search(r'alknet-firewall submit "(.*?)" --wait', README)
    assert example is not None
    submitted = run([sys.executable, "-m", "tasks", "submit", example[1], "--wait", "--json"], redis_url)
    assert '"verdict": "flagged"' in submitted
    watched = run([sys.executable, "-m", "tasks", "watch", "--from-start", "--idle", "1"], redis_url)
    assert "firewall:alarms" in watched
    assert "evidence at" in watched


def test_links_to_files_of_the_project_are_not_broken():
    targets = re.findall(r"\]\(([^)#:]+)\)", README)
    assert targets
    assert [target for target in targets if not Path(target).exists()] == []
