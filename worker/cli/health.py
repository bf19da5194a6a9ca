"""``alknet-firewall health``: tell whether the worker on this machine is alive and ready."""

from pathlib import Path
from typing import Annotated

import typer

from worker.cli.console import ExitCode, errors_shown


def health(
    file: Annotated[Path | None, typer.Option(help="Health file; default FIREWALL_HEALTH_FILE.")] = None,
) -> None:
    """Exit 0 if the worker touched its health file lately, 1 if not. For container health checks."""
    from worker.errors import SettingsError
    from worker.observe.health import is_healthy
    from worker.settings import load_settings

    with errors_shown():
        path = file or load_settings().health_file
        if path is None:
            raise SettingsError("no health file: set FIREWALL_HEALTH_FILE for the worker and for this command")
    healthy = is_healthy(path)
    typer.echo("ready" if healthy else "not ready")
    raise typer.Exit(ExitCode.OK if healthy else ExitCode.NEGATIVE)
