"""``alknet-firewall schema``: print the published JSON Schemas."""

import json
from typing import Annotated

import typer

from worker.cli.console import ExitCode, err


def schema(
    name: Annotated[
        str | None,
        typer.Argument(
            help="job, task-message, result-event, alarm-event, dead-letter-event, drift-event, alarm-digest-event or "
            "ping-event; all if left out."
        ),
    ] = None,
    as_asyncapi: Annotated[
        bool, typer.Option("--asyncapi", help="Print an AsyncAPI 3 document of all queues and streams instead.")
    ] = False,
) -> None:
    """Print the JSON Schema of what producers send and consumers read.

    Example: alknet-firewall schema job > job.schema.json
    """
    from schemas.asyncapi import asyncapi
    from schemas.export import PUBLISHED, json_schema

    if name is not None and name not in PUBLISHED:
        err.print(f"error: no schema {name!r}; there are {', '.join(PUBLISHED)}", markup=False)
        raise typer.Exit(ExitCode.INPUT)
    if as_asyncapi:
        typer.echo(json.dumps(asyncapi(), indent=2, ensure_ascii=False))
        return
    found = {key: json_schema(key) for key in PUBLISHED} if name is None else json_schema(name)
    typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
