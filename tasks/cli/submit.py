"""``alknet-firewall submit``: enqueue a text."""

import json
import re
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from worker.cli.console import ExitCode, err, errors_shown, out

_PATH_LIKE = re.compile(r"\S*/\S*|\S+\.(txt|md|json|jsonl|csv|html?|eml|pdf|log)")


def submit(
    text: Annotated[str, typer.Argument(help="A text, a file's path, or - for standard input.")],
    is_text: Annotated[
        bool, typer.Option("--text", help="Take the argument as a text even if it looks like a path.")
    ] = False,
    source: Annotated[str, typer.Option(help="chat, document, tool, email, web or other.")] = "other",
    job_id: Annotated[str | None, typer.Option(help="Default: a fresh UUID. The same id is screened once.")] = None,
    bulk: Annotated[bool, typer.Option("--bulk", help="Use the bulk queue, which yields to interactive jobs.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the verdict; exit 1 if it is flagged.")] = False,
    timeout: Annotated[float, typer.Option(help="Seconds to wait.", min=0.1)] = 30.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Enqueue one text as a job, as a web backend would.

    Examples: `alknet-firewall submit "When do you open on Sundays?" --wait`,
    `alknet-firewall submit mail.txt --source email`
    """
    from tasks.app import create_app
    from tasks.submit import new_job, send_job
    from worker.settings import load_settings
    from worker.topic.connection import connect_checked

    with errors_shown():
        name, content = ("text", text) if is_text else _read(text)
        job = new_job([{"id": name, "text": content}], source=source, job_id=job_id)
        _refuse_what_the_worker_would(job)
        settings = load_settings()
        connect_checked(settings).close()
        app = create_app(settings)
        pending = send_job(app, job, bulk=bulk, wait=wait)
        if not wait:
            _print_queued(job, as_json=as_json)
            return
        result = _wait(pending, timeout)
    if as_json:
        typer.echo(json.dumps(result))
    else:
        _print_verdict(result, content)
    raise typer.Exit(_exit_code(result))


def _read(text: str) -> tuple[str, str]:
    """Return a name for the item and its text."""
    from worker.errors import InvalidField, InvalidUnicode

    try:
        if text == "-":
            return "stdin", sys.stdin.buffer.read().decode()
        path = Path(text)
        if len(text) < 4096 and "\n" not in text and path.is_file():
            return path.name, path.read_bytes().decode()
    except UnicodeDecodeError:
        raise InvalidUnicode("the input is not UTF-8; convert it first", field="text") from None
    except (OSError, ValueError):  # not a path: a text with NUL, or too long a name
        return "text", text
    if _PATH_LIKE.fullmatch(text):
        raise InvalidField("there is no such file; to screen the argument itself, add --text", field="text")
    return "text", text


def _refuse_what_the_worker_would(job: dict[str, Any]) -> None:
    """Say at once what the worker would answer on the result topic."""
    from worker.screening.policy import Policy
    from worker.text.admission import admit

    for refused in admit(job, {Policy().name}).refused:
        raise refused.error


def _wait(pending: Any, timeout: float) -> dict[str, Any]:
    from celery.exceptions import TimeoutError as CeleryTimeoutError

    from worker.errors import ServiceError

    try:
        results: list[dict[str, Any]] = pending.get(timeout=timeout)
    except CeleryTimeoutError:
        pending.forget()  # unsubscribes now; at interpreter exit Celery could no longer
        raise ServiceError(
            f"no verdict within {timeout:.0f} s; the job stays queued. Is a worker running? `alknet-firewall worker`"
        ) from None
    return results[0]


def _print_queued(job: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"job_id": job["job_id"]}))
    else:
        out.print(f"queued job {job['job_id']}", highlight=False)
        err.print("[dim]the verdict comes on firewall:results; see `alknet-firewall watch --results`[/]")


def _print_verdict(raw: dict[str, Any], text: str) -> None:
    from schemas.result import ItemResult
    from worker.cli.verdicts import add_verdict, verdict_table

    result = ItemResult.model_validate(raw)
    table = verdict_table(f"job {result.job_id}")
    add_verdict(table, result, text)
    out.print(table)
    if result.error:
        out.print(result.error.message, markup=False)


def _exit_code(result: dict[str, Any]) -> ExitCode:
    if result["status"] == "error":
        return ExitCode.INPUT
    return ExitCode.NEGATIVE if result["verdict"] == "flagged" else ExitCode.OK
