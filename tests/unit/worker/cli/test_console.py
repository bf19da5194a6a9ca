"""How errors and events reach a terminal."""

import json
from typing import Any

import pytest
import typer
from rich.console import Console

from worker.cli import console, watch
from worker.cli.console import errors_shown
from worker.errors import (
    EngineStopped,
    GoldenDrift,
    InvalidField,
    MissingExtra,
    ModelNotFound,
    ServiceError,
    SettingsError,
)


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "err", Console(stderr=True, width=300))
    monkeypatch.setattr(watch, "out", Console(width=300))


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InvalidField("m"), 65),
        (ServiceError("m"), 69),
        (EngineStopped("m"), 69),
        (ModelNotFound("m"), 78),
        (GoldenDrift("m"), 78),
        (MissingExtra("m"), 78),
        (SettingsError("m"), 78),
    ],
)
def test_exit_code_follows_the_kind_of_error(error: Exception, code: int) -> None:
    with pytest.raises(typer.Exit) as caught, errors_shown():
        raise error
    assert caught.value.exit_code == code


@pytest.mark.parametrize(
    "message", ["Install it with: pip install 'alknet-firewall[torch]'", "a [/closing] tag", "[bold]not bold"]
)
def test_error_is_shown_with_its_code_word_for_word(message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit), errors_shown():
        raise MissingExtra(message)
    assert capsys.readouterr().err == f"error [missing_extra] {message}\n"


def test_foreign_errors_are_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError), errors_shown():
        _ = 1 / 0


def event(**changes: Any) -> dict[str, Any]:
    data = {
        "job_id": "job-1",
        "item_id": "item-1",
        "source": "chat",
        "severity": "critical",
        "signal": "jailbreak",
        "p_value": 1e-6,
        "evidence": [{"start": 3, "end": 9, "signal": "jailbreak"}],
    }
    return {"time": "2026-11-22T19:00:00.000Z", "data": {**data, **changes}}


def shown(found: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> str:
    watch._show(found, json.dumps(found), as_json=False)
    return capsys.readouterr().out


def test_alarm_is_one_line_with_what_matters(capsys: pytest.CaptureFixture[str]) -> None:
    line = shown(event(), capsys)
    assert all(word in line for word in ("critical", "jailbreak", "1.0e-06", "chat", "job-1", "item-1", "3-9"))
    assert line.count("\n") == 1


def test_error_result_shows_its_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert "empty_text" in shown(event(error={"code": "empty_text"}, severity=None, p_value=None), capsys)


@pytest.mark.parametrize("name", ["[bold]x", "[/x]", "[link=http://x]y"])
@pytest.mark.parametrize("field", ["item_id", "job_id"])
def test_ids_of_strangers_are_not_markup(field: str, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert name in shown(event(**{field: name}), capsys)


def test_event_as_json_is_printed_as_it_came(capsys: pytest.CaptureFixture[str]) -> None:
    raw = json.dumps(event(item_id="[/x]"))
    watch._show(event(), raw, as_json=True)
    assert capsys.readouterr().out == raw + "\n"
