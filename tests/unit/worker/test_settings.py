"""Settings: names, defaults, mistakes, and that secrets stay secret."""

import subprocess
import sys
from pathlib import Path

import pytest

from worker.errors import SettingsError
from worker.settings import Settings, env_example, load_settings

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def _hub_in_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)


def test_defaults_that_others_rely_on() -> None:
    settings = load_settings()
    assert settings.redis_url.get_secret_value() == "redis://127.0.0.1:6379/0"
    assert settings.model == "sentence-transformers/all-MiniLM-L6-v2"
    assert settings.queues == ["screening", "screening.bulk"]
    assert (settings.visibility_timeout_s, settings.max_attempts, settings.concurrency) == (300, 5, 128)
    assert settings.evidence_excerpts is False
    assert settings.sentry_dsn is None
    assert settings.offline is False


def test_variable_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIREWALL_BATCH_TOKENS", "1024")
    assert load_settings().batch_tokens == 1024


def test_list_is_read_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIREWALL_QUEUES", '["only"]')
    assert load_settings().queues == ["only"]


def test_redis_url_is_read_without_the_prefix_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://plain/0")
    assert load_settings().redis_url.get_secret_value() == "redis://plain/0"


def test_prefixed_redis_url_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://plain/0")
    monkeypatch.setenv("FIREWALL_REDIS_URL", "redis://prefixed/0")
    assert load_settings().redis_url.get_secret_value() == "redis://prefixed/0"


@pytest.mark.parametrize("variable", ["FIREWALL_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_mode_is_read_from_either_name(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "1")
    assert load_settings().offline is True


@pytest.mark.parametrize(
    ("variable", "override", "value"),
    [
        ("FIREWALL_MODEL", "model", "mine"),
        ("FIREWALL_REDIS_URL", "redis_url", "redis://mine/0"),
        ("REDIS_URL", "redis_url", "redis://mine/0"),
    ],
)
def test_override_wins_over_the_environment(
    variable: str, override: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "redis://environment/0")
    found = getattr(load_settings(**{override: value}), override)
    assert (found if isinstance(found, str) else found.get_secret_value()) == value


def test_unknown_variable_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIREWALL_BATCHTOKENS", "1")
    with pytest.raises(SettingsError, match="FIREWALL_BATCHTOKENS: no such setting"):
        load_settings()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("FIREWALL_BATCH_TOKENS", "many"),
        ("FIREWALL_BATCH_TOKENS", "1"),
        ("FIREWALL_DTYPE", "float64"),
        ("FIREWALL_LINGER_MS", "-1"),
        ("FIREWALL_BULK_SHARE", "2"),
        ("FIREWALL_BULK_SHARE", "nan"),
        ("FIREWALL_LOG_LEVEL", "LOUD"),
        ("FIREWALL_QUEUES", "screening"),
        ("FIREWALL_QUEUES", "[1]"),
        ("FIREWALL_OFFLINE", "perhaps"),
        ("FIREWALL_MAX_ATTEMPTS", "0"),
    ],
)
def test_wrong_value_names_its_variable(variable: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError, match=variable) as caught:
        load_settings()
    assert caught.value.code == "invalid_settings"


@pytest.mark.parametrize("variable", ["REDIS_URL", "FIREWALL_REDIS_URL"])
@pytest.mark.parametrize(
    "url",
    [
        pytest.param("http://:hunter2@host/0", id="another scheme"),
        pytest.param(":hunter2@host:6379/0", id="no scheme"),
        pytest.param("redis://:hunter2@host:port/0", id="port is a word"),
        pytest.param("redis://:hunter2@host:99999/0", id="port too large"),
        pytest.param("redis://:hunter2@[::1/0", id="open bracket"),
    ],
)
def test_malformed_redis_url_is_named_and_not_quoted(variable: str, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, url)
    with pytest.raises(SettingsError, match="REDIS_URL") as caught:
        load_settings()
    assert caught.value.code == "invalid_settings"
    assert "hunter2" not in str(caught.value) + repr(caught.value)


@pytest.mark.parametrize(
    "url", ["redis://h", "redis://:p@h:6380/1", "rediss://h:6379/0", "unix:///run/redis.sock?db=1"]
)
def test_redis_urls_of_all_kinds_are_taken(url: str) -> None:
    assert load_settings(redis_url=url).redis_url.get_secret_value() == url


def test_all_wrong_values_are_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIREWALL_THREADS", "x")
    monkeypatch.setenv("FIREWALL_CONCURRENCY", "0")
    with pytest.raises(SettingsError, match=r"FIREWALL_THREADS.*FIREWALL_CONCURRENCY"):
        load_settings()


def test_secrets_are_not_shown() -> None:
    settings = load_settings(redis_url="redis://:hunter2@host/0", sentry_dsn="https://hunter2@sentry.invalid/1")
    assert "hunter2" not in repr(settings) + str(settings) + settings.model_dump_json()


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_settings().model = "other"


def test_env_example_is_up_to_date() -> None:
    assert (ROOT / ".env.example").read_text(encoding="utf-8") == env_example(), "run: make settings"


def test_env_example_uncommented_gives_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    defaults = load_settings()
    lines = [line[1:].partition("=") for line in env_example().splitlines() if line.startswith("#FIREWALL_")]
    assert len(lines) == len(Settings.model_fields)
    for name, _, value in lines:
        monkeypatch.setenv(name, value)
    assert load_settings() == defaults


def test_every_setting_is_described() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_nothing_is_read_at_import() -> None:
    code = "import worker.settings, worker.screening.jobs, worker.topic.publisher, worker.cli.console"
    environment = {"FIREWALL_BATCH_TOKENS": "many", "FIREWALL_NONSENSE": "1", "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=60)
