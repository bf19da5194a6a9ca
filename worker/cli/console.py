"""What the commands share: output streams, exit codes, and how an error is shown."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.text import Text

from worker.errors import (
    CodebookError,
    FirewallError,
    InputError,
    MissingExtra,
    ModelError,
    SettingsError,
    WebhookError,
)

if TYPE_CHECKING:
    from rich.progress import Progress

out = Console()
err = Console(stderr=True)


class ExitCode(IntEnum):
    """Exit codes of all commands; 2 is the command line's own usage error."""

    OK = 0
    NEGATIVE = 1
    """The command worked and its answer is no: something was flagged, or a check failed."""
    INPUT = 65
    """``EX_DATAERR``: an input file or text cannot be used."""
    UNAVAILABLE = 69
    """``EX_UNAVAILABLE``: Redis or another service is not there."""
    CONFIGURATION = 78
    """``EX_CONFIG``: settings, model, codebook or installation."""
    INTERRUPTED = 130
    """Ctrl-C; a bulk run can be resumed."""


EXIT_CODES_HELP = (
    "Exit codes: 0 done; 1 the answer is no (flagged, check failed); 2 wrong usage; 65 unusable input; "
    "69 a service is not there; 78 settings, model, codebook or installation; 130 interrupted."
)


@contextmanager
def errors_shown() -> Iterator[None]:
    """Show our own errors as one line with their code, and exit with the code of their kind."""
    try:
        yield
    except FirewallError as error:
        err.print(Text.assemble(("error", "bold red"), f" [{error.code}] {error.message}"), soft_wrap=True)
        raise typer.Exit(_exit_code(error)) from None


def _exit_code(error: FirewallError) -> ExitCode:
    if isinstance(error, InputError | WebhookError):
        return ExitCode.INPUT
    if isinstance(error, ModelError | CodebookError | MissingExtra | SettingsError):
        return ExitCode.CONFIGURATION
    return ExitCode.UNAVAILABLE


@contextmanager
def progress_bars() -> "Iterator[Progress]":
    """Show progress bars on the error stream, so that output can be piped."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description:>16}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err) as progress:
        yield progress


def opener(progress: "Progress") -> Callable[[str, int], Callable[[int], None]]:
    """Return a function that opens a bar: name and total in, a function that advances it out."""

    def open_bar(name: str, total: int) -> Callable[[int], None]:
        task = progress.add_task(name, total=total)
        return lambda done: progress.advance(task, done)

    return open_bar
