"""What a run must remember to survive Ctrl-C, a kill or a power cut: one small file, replaced as a whole."""

import fcntl
import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from worker.errors import RunConflict

RunStatus = Literal["running", "interrupted", "cancelled", "finished"]


class Checkpoint(BaseModel):
    """A run at one moment. Rows that are not in it are done again; their results are still on the topic.

    Attributes:
        run: Id of the run.
        created: UTC, RFC 3339.
        plan: Inputs and options; a run can only be resumed with the same.
        status: ``running`` also after a kill.
        done_below: All chunks below this number are written.
        done: Written chunks above it.
        digest: Of all rows below ``done_below``.
        offsets: Length in bytes of each output file up to here.
        position: Where the result topic must be read from to see every result that is missing.
        again: How often a lost chunk was sent again, by its number.
        seconds: Spent so far, in all sittings.
        tally: Of ``worker.bulk.tally``.
    """

    model_config = ConfigDict(extra="forbid")

    version: Literal[1] = 1
    run: str
    created: str
    plan: dict[str, Any]
    status: RunStatus = "running"
    done_below: int = 0
    done: list[int] = Field(default_factory=list)
    digest: str = ""
    offsets: dict[str, int] = Field(default_factory=dict)
    position: str = ""
    again: dict[int, int] = Field(default_factory=dict)
    seconds: float = 0.0
    tally: dict[str, Any] = Field(default_factory=dict)

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to do."""
        return self.status == "finished"


def new_checkpoint(plan: dict[str, Any]) -> Checkpoint:
    """Return the checkpoint of a run that has not begun."""
    return Checkpoint(run=uuid.uuid4().hex[:12], created=datetime.now(UTC).isoformat(timespec="seconds"), plan=plan)


class RunDirectory:
    """``OUT.run``: the checkpoint beside the output, and a lock.

    Args:
        out: The output file.
    """

    def __init__(self, out: Path):
        self.path = out.with_name(out.name + ".run")
        self._file = self.path / "checkpoint.json"

    def load(self) -> Checkpoint | None:
        """Return the last checkpoint, if there is one.

        Raises:
            RunConflict: The file is not one.
        """
        try:
            return Checkpoint.model_validate_json(self._file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (ValidationError, UnicodeDecodeError):
            raise RunConflict(f"{self._file} is not a checkpoint of this version; start over with --force") from None

    def save(self, checkpoint: Checkpoint) -> None:
        """Replace the checkpoint; after a power cut there is the old one or the new one, never half of one."""
        temporary = self._file.with_suffix(".tmp")
        with temporary.open("w", encoding="utf-8") as file:
            file.write(checkpoint.model_dump_json())
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._file)
        directory = os.open(self.path, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep a second process away from the run while this one is at it.

        Raises:
            RunConflict: Another process is.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / "lock").open("w", encoding="utf-8") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise RunConflict(f"another process is at work on {self.path}") from None
            yield


def start_or_resume(
    directory: RunDirectory, plan: dict[str, Any], out: Path, *, resume: bool, force: bool
) -> Checkpoint:
    """Return the checkpoint to go on from.

    Args:
        directory: Of the run.
        plan: Inputs and options.
        out: The output file.
        resume: Go on with an unfinished run, if there is one.
        force: Forget what is there and start over.

    Raises:
        RunConflict: There is an unfinished run and nobody said what to do with it, its inputs or options
            are others, or the output exists already.
    """
    found = None if force else directory.load()
    if found is None:
        if out.exists() and not force:
            raise RunConflict(f"{out} exists; give another --out, or --force to overwrite it")
        checkpoint = new_checkpoint(plan)
        directory.save(checkpoint)
        return checkpoint
    if not resume:
        state = "is finished" if found.is_done else "was not finished"
        raise RunConflict(f"run {found.run} to {out} {state}; --resume goes on, --force starts over")
    if changed := sorted(key for key in {*plan, *found.plan} if plan.get(key) != found.plan.get(key)):
        raise RunConflict(
            f"run {found.run} was started with other options: "
            + ", ".join(f"{key} was {json.dumps(found.plan.get(key))}" for key in changed)
        )
    return found
