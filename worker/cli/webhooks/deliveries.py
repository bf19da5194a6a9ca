"""``alknet-firewall webhooks deliveries | replay | metrics``."""

import json
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from worker.cli.console import ExitCode, errors_shown, out
from worker.cli.webhooks.endpoints import opened_store

if TYPE_CHECKING:
    from worker.webhooks.deliveries import Delivery

STYLE = {"dead": "red", "waiting": "yellow", "sending": "cyan", "delivered": "green"}


def deliveries(
    endpoint: Annotated[str | None, typer.Option(help="Only this endpoint's.")] = None,
    failed: Annotated[bool, typer.Option("--failed", help="Only what failed: given up, or to be tried again.")] = False,
    limit: Annotated[int, typer.Option(help="At most so many of each state and endpoint.", min=1)] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
) -> None:
    """Show deliveries: what each attempt was answered, and when the next one is due."""
    from worker.webhooks import deliveries as kept

    with errors_shown():
        store = opened_store()
        chosen = [store.get(endpoint).id] if endpoint else [one.id for one in store.all()]
        found = [one for name in chosen for one in kept.deliveries(store.redis, name, failed=failed, limit=limit)]
    if as_json:
        for one in found:
            typer.echo(json.dumps(asdict(one)))
        return
    table = Table(pad_edge=False)
    for name in ("endpoint", "message", "state", "alarms", "age", "answers", "next"):
        table.add_column(name, overflow="fold")
    for one in found:
        table.add_row(
            *(one.endpoint, one.message, f"[{STYLE[one.state]}]{one.state}[/]", str(one.alarms)),
            *(kept.ago(time.time() - one.created), one.codes or "none yet", _next(one)),
        )
    out.print(table if found else "none", highlight=False)


def replay(
    message: Annotated[list[str] | None, typer.Argument(help="Messages to send again; default: see --all.")] = None,
    endpoint: Annotated[str | None, typer.Option(help="Only this endpoint's.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Everything in the dead-letter list.")] = False,
) -> None:
    """Send messages from the dead-letter list again, with the ids they had. Exits 1 if none was there."""
    from worker.webhooks.deliveries import dead_messages

    if bool(message) == everything:
        raise typer.BadParameter("name messages, or give --all")
    with errors_shown():
        store = opened_store()
        chosen = [store.get(endpoint).id] if endpoint else [one.id for one in store.all()]
        replayed = 0
        for name in chosen:
            wanted = dead_messages(store.redis, name) if everything else list(message or ())
            replayed += sum(store.schedule.replay(name, one) for one in wanted)
    out.print(f"{replayed} to be sent again", highlight=False)
    raise typer.Exit(ExitCode.OK if replayed else ExitCode.NEGATIVE)


def metrics() -> None:
    """Print the metrics of all endpoints in Prometheus' text format."""
    from prometheus_client import CollectorRegistry, generate_latest

    from worker.webhooks.metrics import WebhookCollector

    with errors_shown():
        registry = CollectorRegistry()
        registry.register(WebhookCollector(opened_store().redis))
        typer.echo(generate_latest(registry).decode(), nl=False)


def _next(one: "Delivery") -> str:
    from worker.webhooks.deliveries import ago, seconds_until

    if one.state == "dead":
        return f"given up: {one.reason}"
    if one.state == "waiting":
        return f"in {ago(seconds_until(one))}" if seconds_until(one) else "now"
    return ""
