"""The progress bar of a bulk run: by bytes of the inputs, since nobody has counted the rows."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from worker.bulk.pipeline import Progress as RunProgress
from worker.bulk.sources import Input
from worker.cli.console import err

SPAN_S = 30.0
"""Seconds over which the speed is taken."""


@contextmanager
def bulk_progress(inputs: list[Input]) -> Iterator[Callable[[RunProgress], None]]:
    """Show a bar on the error stream; yields a function that takes the run's progress."""
    before: dict[str, int] = {}
    total = 0
    for entry in inputs:
        before[entry.name] = total
        total += entry.size
    knows_total = all(entry.path is not None for entry in inputs) and total > 0
    columns = (TextColumn("screening"), BarColumn(), TextColumn("{task.fields[line]}"), TimeElapsedColumn())
    recent: deque[tuple[float, int, float]] = deque()
    with Progress(*columns, console=err, refresh_per_second=4) as bars:
        task = bars.add_task("", total=total if knows_total else None, line="starting")
        shown = 0.0

        def show(progress: RunProgress) -> None:
            nonlocal shown
            now = time.monotonic()
            if now - shown < 0.2:
                return
            shown = now
            done = before[progress.last_row[0]] + progress.last_row[1] if progress.last_row else 0
            recent.append((now, progress.tally.rows, done))
            while recent[-1][0] - recent[0][0] > SPAN_S:
                recent.popleft()
            bars.update(task, completed=done if knows_total else None, line=_line(progress, recent, total - done))

        yield show
        bars.update(task, completed=total if knows_total else None)


def _line(progress: RunProgress, recent: "deque[tuple[float, int, float]]", left: float) -> Text:
    tally = progress.tally
    seconds = recent[-1][0] - recent[0][0]
    speed = (recent[-1][1] - recent[0][1]) / seconds if seconds > 1 else 0.0
    read = (recent[-1][2] - recent[0][2]) / seconds if seconds > 1 else 0.0
    text = Text(f"{tally.rows:,} rows  {speed:,.0f}/s  ")
    text.append(f"{tally.flagged:,} flagged", style="yellow" if tally.flagged else "")
    if tally.errors:
        text.append(f"  {tally.errors:,} errors", style="magenta")
    if read > 0 and left > 0:
        text.append(f"  {_duration(left / read)} left")
    elif progress.in_flight and speed == 0 and seconds > 5:
        text.append("  waiting for a worker", style="dim")
    return text


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
