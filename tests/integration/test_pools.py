"""The other pools screen jobs too, and end cleanly."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.support import (
    ATTACK,
    HARMLESS,
    WORKER_START_S,
    Producer,
    Topic,
    by_item,
    clean_environment,
    eventually,
    ready,
)

pytestmark = pytest.mark.integration


def children(pid: int) -> list[int]:
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text(encoding="utf-8").rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found.append(int(status.parent.name))
    return found


def health(path: Path) -> int:
    command = [sys.executable, "-m", "tasks", "health", "--file", str(path)]
    return subprocess.run(command, env=clean_environment(), capture_output=True, check=False).returncode


@pytest.mark.parametrize("arguments", [("--pool", "solo"), ("--pool", "prefork", "-c", "2")], ids=["solo", "prefork"])
def test_a_worker_of_another_pool_screens_a_job_and_ends_cleanly(
    own_url: str, own_topic: Topic, own_producer: Producer, logs: Path, arguments: tuple[str, ...]
) -> None:
    with ready(own_url, logs, *arguments) as worker:
        assert health(worker.health) == 0
        sent = [own_producer.send(HARMLESS, ATTACK) for _ in range(4)]
        for job in sent:
            found = by_item(own_topic.results(job.job_id, 2, timeout=WORKER_START_S))
            assert [found[i]["verdict"] for i in ("i0", "i1")] == ["clean", "flagged"]
        family = children(worker.process.pid)
        assert worker.stop() == 0, worker.log
        assert not worker.health.exists()
        assert health(worker.health) == 1
        eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in family), "children gone", 10)
        assert "Traceback" not in worker.log
        assert "ready: model" in worker.log_when_healthy, "healthy before the model was loaded"
