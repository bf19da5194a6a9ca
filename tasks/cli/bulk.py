"""``alknet-firewall bulk``: screen files by the thousand."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from worker.cli.console import ExitCode, err, errors_shown, out

if TYPE_CHECKING:
    from worker.bulk.backend import Backend
    from worker.bulk.run import Run
    from worker.bulk.tally import Tally


class RunByDefault(TyperGroup):
    """A group whose command ``run`` needs no name: ``bulk FILE`` is ``bulk run FILE``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put ``run`` before arguments that name no command."""
        named = args and (args[0] in self.commands or args[0] in ctx.help_option_names)
        return super().parse_args(ctx, args if named or not args else ["run", *args])


def run(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT...",
            help="JSONL, CSV, Parquet, .txt and .md files (also .gz, .zst), folders of them, or - for standard input.",
        ),
    ],
    out_file: Annotated[
        Path, typer.Option("--out", help="Records, one a row: JSON lines, or Parquet if the name ends so.")
    ],
    split: Annotated[
        str | None,
        typer.Option(
            help="Files for the rows themselves: CLEAN,FLAGGED or CLEAN,FLAGGED,UNSCREENED. What could not be "
            "screened is never among the clean."
        ),
    ] = None,
    html: Annotated[
        Path | None, typer.Option(help="Write a self-contained report to this file; it quotes the worst texts.")
    ] = None,
    only_alarms: Annotated[bool, typer.Option("--only-alarms", help="Leave clean rows out of --out.")] = False,
    local: Annotated[bool, typer.Option("--local", help="Screen in this process: no Redis, no worker.")] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an unfinished run to --out, if there is one.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Forget an earlier run to --out and start over.")] = False,
    fail_on: Annotated[
        list[str] | None,
        typer.Option(help="Exit 1 if a row is at least this: notice, warning, critical; or error. Repeatable."),
    ] = None,
    text: Annotated[str, typer.Option(help="Field or column with the text.")] = "text",
    id_: Annotated[str, typer.Option("--id", help="Field or column with the id; default: input and row.")] = "id",
    format_: Annotated[
        Literal["jsonl", "csv", "parquet", "text", "lines"] | None,
        typer.Option("--format", help="Of all inputs, instead of what their names say; lines: a text a line."),
    ] = None,
    source: Annotated[str, typer.Option(help="chat, document, tool, email, web or other.")] = "document",
    policy: Annotated[str, typer.Option(help="Policy of the jobs.")] = "default",
    tenant: Annotated[str | None, typer.Option(help="Tenant of the jobs.")] = None,
    order: Annotated[
        Literal["input", "arrival"], typer.Option(help="Write rows in the order of the input, or as they are done.")
    ] = "input",
    items_per_job: Annotated[int, typer.Option(help="Rows of a job.", min=1, max=256)] = 64,
    in_flight: Annotated[
        int,
        typer.Option(
            help="Rows on their way at once: what Redis holds of the run. More feeds more workers, and leaves "
            "less of a worker to interactive jobs.",
            min=1,
        ),
    ] = 2048,
) -> None:
    """Screen files by the thousand: `alknet-firewall bulk corpus.jsonl --out results.jsonl`.

    Ctrl-C, a crash or a power cut costs nothing: the same command with --resume goes on, screens no row twice
    and loses none. Rows that cannot be screened get an error record, and the run goes on. See also `bulk
    status` and `bulk cancel`.
    """
    from worker.bulk.checkpoint import RunDirectory
    from worker.bulk.output import OutputPlan
    from worker.bulk.pipeline import Flow
    from worker.bulk.rows import Columns
    from worker.bulk.run import Request, Run
    from worker.bulk.sources import find_inputs

    with errors_shown():
        thresholds = _thresholds(fail_on or [])
        directory = RunDirectory(out_file)
        lines = directory.path / "results.jsonl" if out_file.suffix == ".parquet" else out_file
        outputs = OutputPlan(lines, only_alarms, *_split(split))
        request = Request(
            inputs=find_inputs(inputs, format_),
            columns=Columns(text, id_, whole=outputs.sorts),
            outputs=outputs,
            source=source,
            policy=policy,
            tenant=tenant,
            items=items_per_job,
            flow=Flow(items=in_flight, in_order=order == "input"),
            local=local,
        )
        with directory.locked():
            going = Run(request, directory, resume=resume, force=force)
            if not going.checkpoint.is_done:
                _go(going, out_file)
            if lines != out_file:
                from worker.bulk.parquet import write_parquet

                write_parquet(lines, out_file)
    _print(going, out_file)
    if html is not None:
        _write_report(going, html)
    raise typer.Exit(_exit_code(going.tally, thresholds))


def _go(going: "Run", out_file: Path) -> None:
    from tasks.cli.bulk_progress import bulk_progress

    with _stoppable(going), err.status("loading the model") if going.request.local else _nothing():
        backend = _backend(going, out_file)
    with _stoppable(going), bulk_progress(going.request.inputs) as show:
        status = going.go(backend, show)
    if status == "interrupted":
        err.print(f"stopped after {going.tally.rows:,} rows; the same command with --resume goes on", highlight=False)
        raise typer.Exit(ExitCode.INTERRUPTED)


def _backend(going: "Run", out_file: Path) -> "Backend":
    from worker.errors import UnknownPolicy
    from worker.settings import load_settings

    settings = load_settings()
    if going.request.local:
        from worker.bulk.local import LocalBackend
        from worker.screening.loading import load_screener

        screener = load_screener(settings)
        if going.request.policy not in screener.policies:
            screener.engine.stop()
            raise UnknownPolicy(f"policy {going.request.policy} is not in FIREWALL_POLICIES")
        return LocalBackend(screener)
    from tasks.bulk.queue import QueueBackend
    from worker.topic.connection import connect_checked

    def figures() -> dict[str, Any]:
        tally = going.tally
        return {"out": str(out_file.resolve()), "rows": tally.rows, "flagged": tally.flagged, "errors": tally.errors}

    state = going.checkpoint
    return QueueBackend(
        connect_checked(settings),
        state.run,
        position=state.position,
        is_done=going.is_done,
        again=state.again,
        report=figures,
    )


@contextmanager
def _nothing() -> Iterator[None]:
    yield


@contextmanager
def _stoppable(going: "Run") -> Iterator[None]:
    """Let the first Ctrl-C or SIGTERM end the run at a safe moment, and a second one at once."""

    def stop(number: int, _frame: object) -> None:
        going.stop()
        signal.signal(number, before[signal.Signals(number)])

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _split(split: str | None) -> tuple[Path | None, Path | None, Path | None]:
    from worker.errors import InvalidField

    if split is None:
        return None, None, None
    paths = [Path(name.strip()) for name in split.split(",") if name.strip()]
    if len(paths) not in (2, 3):
        raise InvalidField("--split takes CLEAN,FLAGGED or CLEAN,FLAGGED,UNSCREENED")
    return paths[0], paths[1], paths[2] if len(paths) == 3 else None


def _thresholds(fail_on: list[str]) -> set[str]:
    """Return the severities, and perhaps ``error``, of which one row is enough to exit 1."""
    from schemas.signal import SEVERITIES
    from worker.errors import InvalidField

    chosen: set[str] = set()
    for name in fail_on:
        if name == "error":
            chosen.add(name)
        elif name in SEVERITIES:
            chosen.update(SEVERITIES[SEVERITIES.index(name) :])
        else:
            raise InvalidField(f"--fail-on takes {', '.join(SEVERITIES)} or error")
    return chosen


def _exit_code(tally: "Tally", thresholds: set[str]) -> ExitCode:
    found = set(tally.by_severity) | ({"error"} if tally.errors else set())
    return ExitCode.NEGATIVE if found & thresholds else ExitCode.OK


def _print(going: "Run", out_file: Path) -> None:
    tally, seconds = going.tally, going.checkpoint.seconds
    severities = ", ".join(f"{count:,} {name}" for name, count in sorted(tally.by_severity.items()))
    codes = ", ".join(f"{count:,} {name}" for name, count in tally.by_code.most_common())
    out.print(
        f"{out_file}: {tally.rows:,} rows, {tally.clean:,} clean, {tally.flagged:,} flagged"
        + (f" ({severities})" if severities else "")
        + f", {tally.errors:,} not screened"
        + (f" ({codes})" if codes else "")
        + (f"; {seconds:,.0f} s, {tally.rows / seconds:,.1f} rows/s" if seconds >= 1 else ""),
        highlight=False,
        soft_wrap=True,
    )


def _write_report(going: "Run", html: Path) -> None:
    from worker.bulk.report import render_report

    with errors_shown():
        html.write_text(render_report(going.tally, going.checkpoint), encoding="utf-8")


def status(
    run_id: Annotated[str | None, typer.Argument(metavar="RUN", help="A run's id; all if left out.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a run.")] = False,
) -> None:
    """Show the bulk runs of the last seven days that went over this Redis."""
    import json
    from dataclasses import asdict

    registry = _registry()
    with errors_shown():
        from worker.errors import InvalidField
        from worker.topic.connection import redis_errors_explained

        with redis_errors_explained():
            found = registry.runs() if run_id is None else [registry.find(run_id)]
        if None in found:
            raise InvalidField(f"no run {run_id} is remembered here; `alknet-firewall bulk status` lists all")
    if as_json:
        for info in found:
            typer.echo(json.dumps(asdict(info)))
        return
    from rich.table import Table

    table = Table("run", "status", "rows", "flagged", "errors", "jobs sent", "seen", "by", "out")
    for info in found:
        table.add_row(
            *(info.run, info.status, f"{info.rows:,}", f"{info.flagged:,}", f"{info.errors:,}", f"{info.sent:,}"),
            *(f"{info.seen:,.0f} s ago", info.host, info.out),
        )
    out.print(table)


def cancel(
    run_id: Annotated[str, typer.Argument(metavar="RUN", help="The run's id, as `bulk status` shows it.")],
) -> None:
    """Stop a run, wherever it runs, and take its waiting jobs out of the queue. It can be resumed."""
    from worker.errors import InvalidField
    from worker.topic.connection import redis_errors_explained

    registry = _registry()
    with errors_shown(), redis_errors_explained():
        if registry.find(run_id) is None:
            raise InvalidField(f"no run {run_id} is remembered here; `alknet-firewall bulk status` lists all")
        withdrawn = registry.cancel(run_id)
    out.print(f"run {run_id} is cancelled; {withdrawn} jobs taken out of the queue", highlight=False)


def _registry() -> Any:
    from tasks.bulk.registry import Registry
    from worker.settings import load_settings
    from worker.topic.connection import connect_checked

    with errors_shown():
        return Registry(connect_checked(load_settings()))


def add_to(app: typer.Typer, *, panel: str, epilog: str) -> None:
    """Add the group to the command line's root."""
    group = typer.Typer(cls=RunByDefault, no_args_is_help=True)
    for command in (run, status, cancel):
        group.command(epilog=epilog)(command)
    app.add_typer(
        group,
        name="bulk",
        rich_help_panel=panel,
        epilog=epilog,
        help="Screen files by the thousand: `bulk INPUT... --out FILE`. Options: `bulk run --help`.",
    )
