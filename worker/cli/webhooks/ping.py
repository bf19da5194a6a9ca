"""``alknet-firewall webhooks test``: try an endpoint without an alarm."""

import json
from typing import Annotated

import typer

from worker.cli.console import ExitCode, errors_shown, out
from worker.cli.webhooks.endpoints import EndpointArgument


def ping(
    endpoint: EndpointArgument,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Send a signed ping from this machine and show what the receiver gets and verifies. Exits 1 unless it answers 2xx.

    It goes past the schedule and by the same egress rules as a delivery.
    """
    from worker.settings import load_settings
    from worker.topic.connection import connect_checked
    from worker.webhooks.delivery import deliverer_of

    with errors_shown():
        settings = load_settings()
        deliverer = deliverer_of(settings, connect_checked(settings))
        signed, answer = deliverer.ping(endpoint)
        deliverer.close()
    shown = {
        "delivered": answer.delivered,
        "answer": answer.reason,
        "seconds": round(answer.seconds, 3),
        "headers": signed.headers,
        "body": signed.shown_body,
    }
    if as_json:
        typer.echo(json.dumps(shown))
    else:
        for name, value in signed.headers.items():
            out.print(f"{name}: {value}", highlight=False, soft_wrap=True, markup=False)
        out.print(f"\n{signed.shown_body}\n", highlight=False, soft_wrap=True, markup=False)
        out.print(
            "[dim]signed: HMAC-SHA256 with the endpoint's secret over webhook-id, webhook-timestamp and the body, "
            f"joined by dots; {len(signed.headers['webhook-signature'].split())} valid signature(s)[/]",
            highlight=False,
        )
        colour = "green" if answer.delivered else "red"
        out.print(f"answer: [{colour}]{answer.reason}[/] after {answer.seconds:.3f} s", highlight=False)
    raise typer.Exit(ExitCode.OK if answer.delivered else ExitCode.NEGATIVE)
