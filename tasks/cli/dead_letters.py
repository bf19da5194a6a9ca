"""``alknet-firewall dead-letters list | show | replay | drop``: what the worker gave up on."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from worker.cli.console import EXIT_CODES_HELP, ExitCode, err, errors_shown, out

if TYPE_CHECKING:
    from worker.settings import Settings
    from worker.topic.dead_letters import DeadLetters, Kept

app = typer.Typer(
    name="dead-letters",
    help="Look at what could not be processed, send it again, or drop it.",
    epilog=EXIT_CODES_HELP,
    no_args_is_help=True,
)

Entries = Annotated[list[str] | None, typer.Argument(help="Entry ids, as `list` shows them.")]
All = Annotated[bool, typer.Option("--all", help="Every letter.")]
Code = Annotated[str | None, typer.Option(help="With --all: only letters with this error code.")]


@app.command("list", epilog=EXIT_CODES_HELP)
def list_letters(
    code: Annotated[str | None, typer.Option(help="Only letters with this error code.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a letter, without payloads.")] = False,
) -> None:
    """List the letters, the oldest first. Payloads are not shown: they hold unscreened text."""
    from rich.markup import escape
    from rich.table import Table

    from worker.cli.verdicts import one_line

    table = Table("entry", "time", "task", "queue", "error", "starts", "characters")
    count = 0
    with _letters() as (letters, _):
        for kept in letters.all():
            letter = kept.letter
            if code not in (None, letter.error.code):
                continue
            count += 1
            if as_json:
                described = letter.model_dump(mode="json", exclude={"payload"})
                typer.echo(json.dumps({"entry": kept.entry, "time": kept.event.time, **described}))
                continue
            shown = (kept.entry, kept.event.time, one_line(letter.task_id), one_line(letter.queue), letter.error.code)
            size = f"{len(letter.payload)}{'+' if letter.truncated else ''}"
            table.add_row(*map(escape, shown), str(letter.attempts), size)
    if not as_json:
        out.print(table if count else "no dead letters")


@app.command(epilog=EXIT_CODES_HELP)
def show(
    entry: Annotated[str, typer.Argument(help="Entry id, as `list` shows it.")],
    payload: Annotated[bool, typer.Option("--payload", help="Print the payload alone, as it was received.")] = False,
) -> None:
    """Print one letter as JSON, with its history and payload, which is unscreened text: keep it from any model."""
    with _letters() as (letters, _):
        kept = _found(letters, entry)
    # As JSON, so that control characters in it do not reach the terminal.
    typer.echo(json.dumps(kept.letter.payload if payload else kept.event.model_dump(mode="json"), indent=2))


@app.command(epilog=EXIT_CODES_HELP)
def replay(entries: Entries = None, every: All = False, code: Code = None) -> None:
    """Send the jobs of letters again, each to the queue it came from, and delete the letters.

    A job keeps its id: items that have a verdict by now are not published again. Exits 1 if a letter holds no
    job that could be sent; it stays.
    """
    from schemas.names import QUEUE_BULK, QUEUE_INTERACTIVE
    from tasks.app import create_app
    from tasks.submit import send_job
    from worker.errors import NotReplayable
    from worker.topic.dead_letters import job_in

    sent = kept_back = 0
    with _letters() as (letters, settings):
        producer = create_app(settings)
        for kept in _chosen(letters, entries, every=every, code=code):
            try:
                job = job_in(kept.letter)
            except NotReplayable as error:
                err.print(f"{kept.entry} stays: {error.message}", markup=False)
                kept_back += 1
                continue
            queue = kept.letter.queue
            known = (QUEUE_INTERACTIVE, QUEUE_BULK, *settings.queues)
            send_job(producer, job, queue=queue if queue in known else QUEUE_INTERACTIVE)
            # Only now: a death in between sends the job twice, which is harmless, rather than never.
            letters.drop(kept.entry)
            sent += 1
    out.print(f"{sent} sent again, {kept_back} kept")
    raise typer.Exit(ExitCode.NEGATIVE if kept_back else ExitCode.OK)


@app.command(epilog=EXIT_CODES_HELP)
def drop(entries: Entries = None, every: All = False, code: Code = None) -> None:
    """Delete letters for good."""
    with _letters() as (letters, _):
        dropped = sum(letters.drop(kept.entry) for kept in _chosen(letters, entries, every=every, code=code))
    out.print(f"{dropped} dropped")


@contextmanager
def _letters() -> "Iterator[tuple[DeadLetters, Settings]]":
    from worker.settings import load_settings
    from worker.topic.connection import connect_checked, redis_errors_explained
    from worker.topic.dead_letters import DeadLetters

    with errors_shown():
        settings = load_settings()
        redis = connect_checked(settings)
        with redis_errors_explained(redis):
            yield DeadLetters(redis), settings


def _chosen(
    letters: "DeadLetters", entries: list[str] | None, *, every: bool, code: str | None
) -> "list[Kept] | Iterator[Kept]":
    if every == bool(entries):
        raise typer.BadParameter("give entry ids, or --all")
    if entries:
        return [_found(letters, entry) for entry in entries]
    return (kept for kept in letters.all() if code in (None, kept.letter.error.code))


def _found(letters: "DeadLetters", entry: str) -> "Kept":
    from redis.exceptions import ResponseError

    from worker.errors import InvalidField

    try:
        kept = letters.find(entry)
    except ResponseError:
        kept = None
    if kept is None:
        raise InvalidField(f"no letter has the entry id {entry}; see `alknet-firewall dead-letters list`")
    return kept
