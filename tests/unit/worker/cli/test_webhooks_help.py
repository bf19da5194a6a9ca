"""The group ``webhooks``: its commands, and that each explains itself."""

import pytest
import typer

from tasks.cli.main import app
from tests.unit.worker.cli.test_commands import invoke

COMMANDS = {
    *("add", "apply", "list", "show", "test", "rotate-secret", "disable", "enable", "remove"),
    *("deliveries", "replay", "metrics"),
}


def group() -> dict[str, typer.core.TyperCommand]:
    return typer.main.get_command(app).commands["webhooks"].commands  # type: ignore[attr-defined,no-any-return]


def test_the_commands() -> None:
    assert set(group()) == COMMANDS


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_help_stands_alone(command: str) -> None:
    found = group()[command]
    assert found.help
    assert [p.name for p in found.params if p.name != "help" and not getattr(p, "help", None)] == []
    result = invoke("webhooks", command, "--help")
    assert result.exit_code == 0
    assert "Exit codes: 0 done" in " ".join(result.output.split())


def test_without_redis_the_address_is_named() -> None:
    result = invoke("webhooks", "list", FIREWALL_REDIS_URL="redis://:hunter2@127.0.0.1:1/0")
    assert result.exit_code == 69
    assert "127.0.0.1:1" in result.stderr
    assert "hunter2" not in result.output
