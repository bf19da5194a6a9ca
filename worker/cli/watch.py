"""``alknet-firewall watch``: follow alarms, results or drift as they come."""

import json
import os
import socket
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from worker.cli.console import errors_shown, out
from worker.cli.verdicts import SEVERITY_STYLE, one_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis import Redis

    from worker.topic.reader import Entry


def watch(
    results: Annotated[bool, typer.Option("--results", help="Follow all results instead of alarms.")] = False,
    drift: Annotated[
        bool, typer.Option("--drift", help="Follow drift events instead: traffic that the calibration no longer fits.")
    ] = False,
    from_start: Annotated[bool, typer.Option("--from-start", help="Begin with what the stream still keeps.")] = False,
    group: Annotated[
        str | None,
        typer.Option(help="Read as this consumer group: every entry goes to one member, and is confirmed."),
    ] = None,
    consumer: Annotated[str | None, typer.Option(help="Name within the group; default host and process id.")] = None,
    count: Annotated[int | None, typer.Option(help="Stop after so many entries.", min=1)] = None,
    idle: Annotated[float | None, typer.Option(help="Stop after so many seconds without an entry.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the CloudEvents as they are, one a line.")] = False,
) -> None:
    """Follow alarms, results or drift live, in a readable table or as JSON lines. Ctrl-C ends it.

    Without --group every watcher sees everything and Redis remembers nothing of it.
    """
    from schemas.names import STREAM_ALARMS, STREAM_DRIFT, STREAM_RESULTS
    from worker.settings import load_settings
    from worker.topic.connection import connect_checked, redis_errors_explained

    if results and drift:
        raise typer.BadParameter("--results and --drift are two streams; watch one", param_hint="--drift")
    with errors_shown():
        redis = connect_checked(load_settings())
    stream = STREAM_DRIFT if drift else STREAM_RESULTS if results else STREAM_ALARMS
    if not as_json:
        out.print(f"[dim]{stream} — waiting; Ctrl-C ends[/]")
    seen = 0
    try:
        with errors_shown(), redis_errors_explained(redis):
            for entry in _entries(redis, stream, group, consumer, from_start=from_start, idle=idle, count=count):
                _show(json.loads(entry.event), entry.event, as_json=as_json)
                seen += 1
    except KeyboardInterrupt:
        pass
    if not as_json:
        out.print(f"[dim]{seen} entries[/]")


def _entries(
    redis: "Redis",
    stream: str,
    group: str | None,
    consumer: str | None,
    *,
    from_start: bool,
    idle: float | None,
    count: int | None,
) -> "Iterator[Entry]":
    from worker.topic.reader import read_group, read_stream

    block_ms = 500
    if group is not None:
        name = consumer or f"{socket.gethostname()}-{os.getpid()}"
        source = read_group(redis, stream, group, name, block_ms=block_ms, count=count)
    else:
        source = read_stream(redis, stream, start="0" if from_start else "$", block_ms=block_ms, count=count)
    waited = 0.0
    for entry in source:
        if entry is not None:
            waited = 0.0
            yield entry
            continue
        waited += block_ms / 1000
        if idle is not None and waited >= idle:
            return


def _show(event: dict[str, Any], raw: str, *, as_json: bool) -> None:
    if as_json:
        typer.echo(raw)
        return
    from schemas.names import EVENT_DRIFT

    data = event["data"]
    clock = datetime.fromisoformat(event["time"]).astimezone().strftime("%H:%M:%S")
    if event.get("type") == EVENT_DRIFT:
        _show_drift(clock, data)
        return
    job, item = escape(one_line(data["job_id"])), escape(one_line(str(data.get("item_id"))))
    if data.get("error"):
        out.print(
            f"{clock}  [magenta]error    [/] {data['error']['code']:20} {'':9}  {data['source']:8} {job} {item}",
            highlight=False,
            soft_wrap=True,
        )
        return
    severity = data.get("severity")
    style = SEVERITY_STYLE[severity]
    signal = data.get("signal") or (data["evidence"][0]["signal"] if data.get("evidence") else "")
    spans = " ".join(f"{span['start']}-{span['end']}" for span in data.get("evidence", []))
    out.print(
        f"{clock}  [{style}]{severity or 'clean':9}[/] {signal:20} p={data['p_value']:.1e}  {data['source']:8} "
        f"{job} {item}" + (f"  evidence at {spans}" if spans else ""),
        highlight=False,
        soft_wrap=True,
    )


def _show_drift(clock: str, data: dict[str, Any]) -> None:
    # Whoever may write the stream must not write to the terminal.
    policy, codebook, worker, remedy = (
        escape(one_line(str(data[name]))) for name in ("policy", "codebook", "worker", "remedy")
    )
    out.print(
        f"{clock}  [dark_orange]drift[/] policy {policy}: p-values {escape(one_line(data['direction']))}, distance "
        f"{data['distance']:.3f} of {data['tolerated']:.3f} tolerated, {data['texts']:,} texts, {data['flagged']:,} "
        f"flagged  codebook {codebook} {worker}\n          {remedy}",
        highlight=False,
        soft_wrap=True,
    )
