"""``alknet-firewall demo``: from nothing to verdicts, and nothing left behind."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.integration.support import clean_environment, eventually

pytestmark = pytest.mark.integration

STARTED = ("redis-server", " worker")
"""What the demo's processes are called."""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """The demo's directory for temporary files; it tells the demo's processes from others."""
    yield tmp_path
    for pid in family(tmp_path):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def family(home: Path) -> dict[int, str]:
    """Return command lines of all processes of a demo, by pid.

    The worker is known by its environment; redis-server overwrites its own, but works below ``home``.
    """
    found = {}
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            ours = str(home).encode() in (directory / "environ").read_bytes()
            ours = ours or (directory / "cwd").readlink().is_relative_to(home)
            command = (directory / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if ours and command:
            found[int(directory.name)] = command
    return found


def start(home: Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-m", "tasks", "demo", "--json"],
        env=clean_environment(TMPDIR=str(home)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_the_demo_answers_every_input_exactly_once_and_leaves_nothing_running(home: Path) -> None:
    begun = time.monotonic()
    demo = start(home)
    output, errors = demo.communicate(timeout=150)
    assert demo.returncode == 0, output.decode()[:2000] + errors.decode()[-2000:]
    said = json.loads(output)
    assert said["ok"] is True
    assert said["faults"] == []
    names = [result["item_id"] for result in said["results"]]
    assert len(names) == len(set(names)) == said["figures"]["items"] >= 24
    assert said["figures"]["alarms"] == sum(result["verdict"] == "flagged" for result in said["results"])
    assert 0 < said["figures"]["first_alarm_s"] < time.monotonic() - begun
    assert family(home) == {}


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_a_demo_that_is_interrupted_leaves_nothing_running(home: Path, signum: int) -> None:
    demo = start(home)
    try:
        eventually(lambda: all(any(name in c for c in family(home).values()) for name in STARTED), "a start")
        demo.send_signal(signum)
        demo.communicate(timeout=60)
        eventually(lambda: not family(home), f"all processes gone, left: {family(home)}", 10)
    finally:
        if demo.poll() is None:
            demo.kill()
            demo.communicate()
    assert demo.returncode != 0
