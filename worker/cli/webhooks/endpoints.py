"""``alknet-firewall webhooks list | show | rotate-secret | disable | enable | remove``."""

import json
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from worker.cli.console import errors_shown, out

if TYPE_CHECKING:
    from worker.webhooks.endpoints import Endpoint, EndpointStore
    from worker.webhooks.metrics import EndpointFigures

EndpointArgument = Annotated[str, typer.Argument(metavar="ENDPOINT", help="Id of the endpoint.")]


def opened_store() -> "EndpointStore":
    """Return the endpoints in the settings' Redis.

    Raises:
        FirewallError: A setting is wrong, or Redis does not answer.
    """
    from worker.settings import load_settings
    from worker.topic.connection import connect_checked
    from worker.webhooks.endpoints import EndpointStore

    return EndpointStore(connect_checked(load_settings()))


def list_endpoints(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
) -> None:
    """List endpoints with what waits for them. Secrets are never listed, and URLs only up to their host."""
    from worker.webhooks.metrics import figures

    with errors_shown():
        store = opened_store()
        standing = {found.id: found for found in figures(store.redis)}
        rows = [(endpoint, standing[endpoint.id]) for endpoint in store.all() if endpoint.id in standing]
    if as_json:
        for endpoint, found in rows:
            typer.echo(json.dumps(_public(endpoint) | _standing(found)))
        return
    table = Table(pad_edge=False)
    for name in ("endpoint", "url", "format", "gets", "state", "last answer"):
        table.add_column(name, overflow="fold")
    for name in ("waiting", "dead"):
        table.add_column(name, justify="right")
    for endpoint, found in rows:
        table.add_row(
            *(endpoint.id, Text(endpoint.shown_url), endpoint.format, wanted(endpoint), state(found)),
            *(found.counters.get("last_code", ""), str(found.waiting), str(found.dead)),
        )
    out.print(table if rows else "no endpoints; `alknet-firewall webhooks add URL` makes one")


def show(
    endpoint: EndpointArgument,
    url: Annotated[bool, typer.Option("--url", help="Show the whole URL, which may be a credential.")] = False,
) -> None:
    """Show one endpoint as JSON: its settings, counters and state. Its secrets are not shown."""
    from worker.webhooks.metrics import figures

    with errors_shown():
        store = opened_store()
        found = store.get(endpoint)
        (standing,) = [one for one in figures(store.redis) if one.id == endpoint]
    shown = _public(found) | _standing(standing) | {"counters": standing.counters}
    typer.echo(json.dumps(shown | ({"url": found.url} if url else {}), indent=2))


def rotate_secret(
    endpoint: EndpointArgument,
    grace_hours: Annotated[float, typer.Option(help="Hours for which the old secret stays valid too.", min=0)] = 24,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Make a new signing secret and print it, once. Until the old one ends, requests carry both signatures."""
    with errors_shown():
        secret = opened_store().rotate(endpoint, grace_s=3600 * grace_hours)
    if as_json:
        typer.echo(json.dumps({"id": endpoint, "secret": secret}))
        return
    out.print(f"new signing secret, shown this once: [bold]{secret}[/]", highlight=False, soft_wrap=True)
    out.print(f"[dim]the old one stays valid for {grace_hours:g} hours[/]", highlight=False)


def disable(
    endpoint: EndpointArgument, reason: Annotated[str, typer.Option(help="For people.")] = "by an operator"
) -> None:
    """Stop delivering to an endpoint. What waits for it is kept; new alarms are not kept for it."""
    with errors_shown():
        opened_store().disable(endpoint, reason)
    out.print(f"{endpoint} is disabled", highlight=False)


def enable(endpoint: EndpointArgument) -> None:
    """Deliver again, beginning with what waits."""
    with errors_shown():
        opened_store().enable(endpoint)
    out.print(f"{endpoint} is enabled", highlight=False)


def remove(
    endpoint: EndpointArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Remove an endpoint, its secrets, and everything that waits for it."""
    with errors_shown():
        store = opened_store()
        store.get(endpoint)
        if not yes:
            typer.confirm(f"remove {endpoint} and what waits for it?", abort=True)
        store.remove(endpoint)
    out.print(f"{endpoint} is removed", highlight=False)


def wanted(endpoint: "Endpoint") -> str:
    """Return an endpoint's filter in a few words."""
    parts = [f"≥ {endpoint.min_severity}"]
    parts += [", ".join(chosen) for chosen in (endpoint.signals, endpoint.sources, endpoint.tenants) if chosen]
    if endpoint.digest_s:
        parts.append(f"digest every {endpoint.digest_s} s")
    if endpoint.rate:
        parts.append(f"{endpoint.rate:g}/s")
    return "; ".join(parts)


def state(found: "EndpointFigures") -> Text:
    """Return an endpoint's state in a word or two, coloured."""
    if found.disabled is not None:
        return Text(f"disabled: {found.disabled}", style="red")
    if found.held_s > 0:
        return Text(f"held for {found.held_s:.0f} s", style="yellow")
    if found.count("failures"):
        return Text(f"{found.count('failures')} failures", style="yellow")
    return Text("ok", style="green")


def _public(endpoint: "Endpoint") -> dict[str, object]:
    return endpoint.model_dump(mode="json", exclude_none=True) | {"url": endpoint.shown_url}


def _standing(found: "EndpointFigures") -> dict[str, object]:
    return {
        "disabled": found.disabled,
        "held_s": round(found.held_s, 1),
        "waiting": found.waiting,
        "dead": found.dead,
        "oldest_due_s": round(found.oldest_due_s, 1),
        "last_answer": found.counters.get("last_code"),
    }
