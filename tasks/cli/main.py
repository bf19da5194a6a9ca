"""The command line's root: ``alknet-firewall COMMAND``."""

import typer

from tasks.cli.demo import demo
from tasks.cli.submit import submit
from tasks.cli.worker import worker
from worker.cli.calibrate import calibrate
from worker.cli.console import EXIT_CODES_HELP
from worker.cli.download import download
from worker.cli.evaluate import evaluate
from worker.cli.health import health
from worker.cli.inspect import inspect
from worker.cli.schema import schema
from worker.cli.watch import watch

app = typer.Typer(
    name="alknet-firewall",
    help="Screen untrusted text for attacks on LLM applications.",
    epilog=EXIT_CODES_HELP,
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_PANELS = {
    "Run": (worker, demo, submit, watch, health),
    "Codebooks and models": (download, calibrate, evaluate, inspect),
    "Integrate": (schema,),
}
for _panel, _commands in _PANELS.items():
    for _command in _commands:
        app.command(rich_help_panel=_panel, epilog=EXIT_CODES_HELP)(_command)


def run() -> None:
    """Console script."""
    app()
