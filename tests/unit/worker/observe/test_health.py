"""The health file: fresh while the worker is ready, gone after."""

import os
import threading
import time
from pathlib import Path

import pytest

from worker.observe import health
from worker.observe.health import STALE_S, Heartbeat, is_healthy


def test_no_file_is_not_healthy(tmp_path: Path) -> None:
    assert not is_healthy(tmp_path / "none")


def test_fresh_file_is_healthy_and_an_old_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "health"
    path.touch()
    assert is_healthy(path)
    old = time.time() - STALE_S - 1
    os.utime(path, (old, old))
    assert not is_healthy(path)


def test_heartbeat_touches_at_once_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "BEAT_S", 0.01)
    path = tmp_path / "health"
    heartbeat = Heartbeat(path)
    heartbeat.start()
    try:
        assert path.exists()
        os.utime(path, (0, 0))
        deadline = time.monotonic() + 5
        while not is_healthy(path) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert is_healthy(path)
    finally:
        heartbeat.stop()


def test_stop_removes_the_file(tmp_path: Path) -> None:
    heartbeat = Heartbeat(tmp_path / "health")
    heartbeat.start()
    heartbeat.stop()
    assert not (tmp_path / "health").exists()


def test_stop_before_start_is_harmless(tmp_path: Path) -> None:
    Heartbeat(tmp_path / "health").stop()
    assert not (tmp_path / "health").exists()


def test_several_beats_fit_before_the_file_counts_as_stale() -> None:
    assert health.BEAT_S * 3 < STALE_S


def test_a_file_left_by_a_crash_is_gone_before_the_model_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "health"
    path.touch()
    Heartbeat(path)
    assert not is_healthy(path)


def test_heartbeat_waits_until_the_process_is_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "POLL_S", 0.01)
    path = tmp_path / "health"
    ready = threading.Event()
    heartbeat = Heartbeat(path, ready.is_set)
    heartbeat.start()
    try:
        time.sleep(0.05)
        assert not path.exists()
        ready.set()
        deadline = time.monotonic() + 5
        while not path.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert is_healthy(path)
    finally:
        heartbeat.stop()
