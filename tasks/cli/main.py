"""The command line's root: ``alknet-firewall COMMAND``."""

from collections.abc import Callable
from typing import Annotated

import typer

from tasks.cli import bulk, dead_letters
from tasks.cli.demo import demo
from tasks.cli.submit import submit
from tasks.cli.worker import worker
from worker.cli.calibrate import calibrate
from worker.cli.check_backend import check_backend
from worker.cli.console import EXIT_CODES_HELP
from worker.cli.download import download
from worker.cli.evaluate import evaluate
from worker.cli.export import export
from worker.cli.health import health
from worker.cli.inspect import inspect
from worker.cli.policies import policies
from worker.cli.recalibrate import recalibrate
from worker.cli.schema import schema
from worker.cli.watch import watch
from worker.cli.webhooks import webhooks

app = typer.Typer(
    name="alknet-firewall",
    help="Screen untrusted text for attacks on LLM applications.",
    epilog=EXIT_CODES_HELP,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
_PANELS: dict[str, tuple[Callable[..., None], ...]] = {
    "Run": (worker, demo, submit, watch, health, policies),
    "Codebooks and models": (download, calibrate, recalibrate, evaluate, inspect, export, check_backend),
    "Integrate": (schema,),
}
for _panel, _commands in _PANELS.items():
    for _command in _commands:
        app.command(rich_help_panel=_panel, epilog=EXIT_CODES_HELP)(_command)
app.add_typer(webhooks, name="webhooks", rich_help_panel="Integrate")
app.add_typer(dead_letters.app, rich_help_panel="Run")
bulk.add_to(app, panel="Run", epilog=EXIT_CODES_HELP)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(version("alknet-firewall"))
        raise typer.Exit


@app.callback()
def _root(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Screen untrusted text for attacks on LLM applications."""


def run() -> None:
    """Console script."""
    app()
