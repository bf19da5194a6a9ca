"""``alknet-firewall webhooks add`` and ``apply``: new endpoints."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from worker.cli.console import err, errors_shown, out

if TYPE_CHECKING:
    from worker.settings import Settings
    from worker.webhooks.egress import EgressGuard


def add(
    url: Annotated[str, typer.Argument(help="Where alarms are posted to; https, unless the host is allow-listed.")],
    endpoint_id: Annotated[str | None, typer.Option("--id", help="Name of the endpoint; default a random one.")] = None,
    body: Annotated[str, typer.Option("--format", help="cloudevents, slack or pagerduty.")] = "cloudevents",
    signals: Annotated[str | None, typer.Option(help="Only these, comma-separated.")] = None,
    min_severity: Annotated[str, typer.Option(help="notice, warning or critical.")] = "notice",
    sources: Annotated[str | None, typer.Option(help="Only these, comma-separated: chat, web, ….")] = None,
    tenants: Annotated[str | None, typer.Option(help="Only these, comma-separated.")] = None,
    digest: Annotated[
        int | None, typer.Option(help="At most one request in so many seconds, with several alarms.", min=1)
    ] = None,
    digest_max: Annotated[int, typer.Option(help="Alarms in one digest.", min=1)] = 50,
    rate: Annotated[float | None, typer.Option(help="Requests a second at most.")] = None,
    parallel: Annotated[int, typer.Option(help="Requests at the same time at most.", min=1)] = 4,
    description: Annotated[str, typer.Option(help="For people.")] = "",
    routing_key_file: Annotated[
        Path | None,
        typer.Option(help="File with PagerDuty's key, for --format pagerduty.", exists=True, dir_okay=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Add an endpoint and print its signing secret, once.

    Example: `alknet-firewall webhooks add https://soc.example.com/alarms --min-severity warning`
    """
    from worker.settings import load_settings
    from worker.topic.connection import connect_checked
    from worker.webhooks.endpoints import EndpointStore, endpoint_of
    from worker.webhooks.sender import sender_of

    with errors_shown():
        settings = load_settings()
        fields: dict[str, Any] = {
            **({"id": endpoint_id} if endpoint_id else {}),
            "url": url,
            "format": body,
            "min_severity": min_severity,
            "description": description,
            "signals": _listed(signals),
            "sources": _listed(sources),
            "tenants": _listed(tenants),
            "digest_s": digest,
            "digest_max": digest_max,
            "rate": rate,
            "parallel": parallel,
        }
        endpoint = endpoint_of(fields)
        _check(url, sender_of(settings).guard, settings)
        routing_key = routing_key_file.read_text(encoding="utf-8").strip() if routing_key_file else None
        store = EndpointStore(connect_checked(settings))
        secret = store.add(endpoint, routing_key=routing_key)
    if as_json:
        typer.echo(json.dumps({"id": endpoint.id, "secret": secret}))
        return
    out.print(f"added [bold]{endpoint.id}[/], {endpoint.format}, {escape(endpoint.shown_url)}", highlight=False)
    out.print(f"signing secret, shown this once: [bold]{secret}[/]", highlight=False, soft_wrap=True)
    out.print(f"[dim]try it: alknet-firewall webhooks test {endpoint.id}[/]", highlight=False)


def apply(
    file: Annotated[Path, typer.Argument(help="TOML file with [[endpoint]] tables; see docs/webhooks.md.")],
) -> None:
    """Add the endpoints of a file and change those that are there; the webhooks worker does so when it starts."""
    from worker.settings import load_settings
    from worker.topic.connection import connect_checked
    from worker.webhooks.declared import apply_file
    from worker.webhooks.endpoints import EndpointStore
    from worker.webhooks.sender import sender_of

    with errors_shown():
        settings = load_settings()
        added = apply_file(file, EndpointStore(connect_checked(settings)), sender_of(settings).guard)
    out.print(f"added: {', '.join(added) or 'none'}; endpoints that were there have the file's settings now")


def _listed(text: str | None) -> list[str] | None:
    return [part.strip() for part in text.split(",")] if text is not None else None


def _check(url: str, guard: "EgressGuard", settings: "Settings") -> None:
    """Refuse a URL that deliveries would refuse; a name that this machine cannot resolve is only mentioned.

    Raises:
        EgressRefused: The URL's form or an address of its host is not acceptable.
    """
    target = guard.check_url(url)
    if settings.webhook_proxy is not None:
        return
    try:
        guard.addresses(target.host, target.port or 443)
    except OSError:
        err.print("[yellow]the host does not resolve from here; deliveries check it again[/]")
