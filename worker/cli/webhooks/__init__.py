"""``alknet-firewall webhooks``: endpoints, what is delivered to them, and what is not."""

from collections.abc import Callable

import typer

from worker.cli.console import EXIT_CODES_HELP
from worker.cli.webhooks.add import add, apply
from worker.cli.webhooks.deliveries import deliveries, metrics, replay
from worker.cli.webhooks.endpoints import disable, enable, list_endpoints, remove, rotate_secret, show
from worker.cli.webhooks.ping import ping

webhooks = typer.Typer(
    help="Deliver alarms to endpoints over HTTPS: signed, retried, and never to an inner address.",
    epilog=EXIT_CODES_HELP,
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
_COMMANDS: dict[str, Callable[..., None]] = {
    "add": add,
    "apply": apply,
    "list": list_endpoints,
    "show": show,
    "test": ping,
    "rotate-secret": rotate_secret,
    "disable": disable,
    "enable": enable,
    "remove": remove,
    "deliveries": deliveries,
    "replay": replay,
    "metrics": metrics,
}
for _name, _command in _COMMANDS.items():
    webhooks.command(_name, epilog=EXIT_CODES_HELP)(_command)
