"""The files a run writes: records, and rows sorted into clean, flagged and not screened."""

import json
import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from worker.bulk.rows import Row

Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class OutputPlan:
    """Where things go.

    Attributes:
        results: One record a row.
        only_alarms: Leave the records of clean rows out.
        clean: Rows found clean, as they were read; None for nowhere.
        flagged: Rows that were flagged.
        unscreened: Rows that could not be screened. They are never among the clean ones.
    """

    results: Path
    only_alarms: bool = False
    clean: Path | None = None
    flagged: Path | None = None
    unscreened: Path | None = None

    @property
    def sorts(self) -> bool:
        """Whether the rows themselves are needed."""
        return self.clean is not None

    def files(self) -> dict[str, Path]:
        """Return the files by name."""
        named = {"results": self.results, "clean": self.clean, "flagged": self.flagged, "unscreened": self.unscreened}
        return {name: path for name, path in named.items() if path is not None}


class Outputs:
    """The open files. What lies beyond the last checkpoint is cut off when they are opened.

    Args:
        plan: Where things go.
        offsets: Bytes of every file that count; files without are begun anew.
    """

    def __init__(self, plan: OutputPlan, offsets: dict[str, int]):
        self._plan = plan
        self._stack = ExitStack()
        self._files: dict[str, BinaryIO] = {}
        for name, path in plan.files().items():
            path.touch()
            file = self._stack.enter_context(path.open("r+b"))
            file.truncate(offsets.get(name, 0))
            file.seek(0, os.SEEK_END)
            self._files[name] = file

    def write(self, rows: Sequence[Row], records: Sequence[Record]) -> None:
        """Write the records of some rows, and the rows where they belong."""
        for row, record in zip(rows, records, strict=True):
            kind = _kind(record)
            if kind != "clean" or not self._plan.only_alarms:
                self._files["results"].write(_line(record))
            if (sorted_into := self._files.get(kind)) is not None:
                sorted_into.write(_original(row))

    def sync(self) -> dict[str, int]:
        """Bring everything to the disk and return the files' lengths in bytes."""
        for file in self._files.values():
            file.flush()
            os.fsync(file.fileno())
        return {name: file.tell() for name, file in self._files.items()}

    def close(self) -> None:
        """Close the files."""
        self._stack.close()


def _kind(record: Record) -> str:
    if record["status"] != "screened":
        return "unscreened"
    return str(record["verdict"])


def _line(value: object) -> bytes:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
    return text.encode("utf-8", "backslashreplace") + b"\n"


def _original(row: Row) -> bytes:
    """Return a row as it was read; of one that could not be read, its place."""
    if isinstance(row.original, str):
        return row.original.encode() + b"\n"
    return _line(row.original if row.original is not None else {"input": row.input, "row": row.number})
