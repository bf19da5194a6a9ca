"""Inputs: files, folders and standard input; which format each has, and how much there is to read."""

import gzip
import io
import sys
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from worker.bulk.readers import READERS
from worker.bulk.rows import Columns, Row
from worker.errors import MissingExtra, UnreadableInput

FORMATS = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".parquet": "parquet",
    ".txt": "text",
    ".md": "text",
    ".markdown": "text",
}
COMPRESSIONS = (".gz", ".zst")
STDIN = "-"


@dataclass(frozen=True, slots=True)
class Input:
    """Something to read.

    Attributes:
        name: How records and ids call it.
        path: None for standard input.
        format: A key of ``READERS``.
        size: Bytes on disk; 0 where nobody can know.
    """

    name: str
    path: Path | None
    format: str
    size: int


def find_inputs(given: Sequence[str], chosen: str | None = None) -> list[Input]:
    """Return what the arguments stand for: files as they are, of folders every readable file in order of name.

    Args:
        given: Paths, or ``-`` for standard input.
        chosen: A format for all of them, instead of what the names say.

    Raises:
        UnreadableInput: A path does not exist or its name says no format; a folder holds nothing readable.
    """
    found: list[Input] = []
    for argument in given:
        path = Path(argument)
        if argument == STDIN:
            found.append(Input("stdin", None, chosen or "jsonl", 0))
        elif path.is_dir():
            inside = [file for file in sorted(path.rglob("*")) if _readable(file, path)]
            if not inside:
                raise UnreadableInput(f"{argument}: the folder holds no file ending in {', '.join(FORMATS)}")
            found += [_file(file, chosen) for file in inside]
        elif path.is_file():
            found.append(_file(path, chosen))
        else:
            raise UnreadableInput(f"{argument}: there is no such file or folder")
    if sum(entry.path is None for entry in found) > 1:
        raise UnreadableInput("standard input can be read once only")
    return found


def read_inputs(inputs: Sequence[Input], columns: Columns) -> Iterator[Row]:
    """Yield the rows of all inputs, in order, holding one file open at a time.

    Raises:
        UnreadableInput: A file cannot be opened, is damaged, or lacks the text column.
        MissingExtra: A format or compression needs pyarrow.
    """
    for entry in inputs:
        try:
            with ExitStack() as stack:
                raw = _open(entry, stack)
                stream = _decompressed(raw, entry, stack)
                yield from READERS[entry.format](stream, entry.name, columns, lambda raw=raw: _tell(raw))  # type: ignore[misc]
        except (OSError, EOFError, zlib.error) as error:
            raise UnreadableInput(f"{entry.name} cannot be read to its end ({type(error).__name__})") from None


def _readable(file: Path, folder: Path) -> bool:
    hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
    return not hidden and file.is_file() and _format_of(file) is not None


def _format_of(path: Path) -> str | None:
    suffixes = path.suffixes
    if suffixes and suffixes[-1] in COMPRESSIONS:
        suffixes = suffixes[:-1]
    return FORMATS.get(suffixes[-1].lower()) if suffixes else None


def _file(path: Path, chosen: str | None) -> Input:
    format_ = chosen or _format_of(path)
    if format_ is None:
        raise UnreadableInput(
            f"{path}: the name does not say what it is; rename it to end in one of {', '.join(FORMATS)} (and .gz or "
            ".zst), or give --format"
        )
    name = str(path).encode("utf-8", "replace").decode()
    return Input(name, path, format_, path.stat().st_size)


def _open(entry: Input, stack: ExitStack) -> BinaryIO:
    if entry.path is None:
        return sys.stdin.buffer
    return stack.enter_context(entry.path.open("rb"))


def _tell(raw: BinaryIO) -> int:
    return raw.tell() if raw.seekable() else 0


def _decompressed(raw: BinaryIO, entry: Input, stack: ExitStack) -> BinaryIO:
    suffix = entry.path.suffix if entry.path else ""
    if suffix == ".gz":
        return stack.enter_context(gzip.GzipFile(fileobj=raw))  # type: ignore[return-value]
    if suffix == ".zst":
        return io.BufferedReader(stack.enter_context(_zstd(raw)), 1 << 16)
    return raw


def _zstd(raw: BinaryIO) -> Any:
    try:
        import pyarrow
    except ImportError:
        raise MissingExtra("pyarrow is not installed: pip install 'alknet-firewall[bulk]'") from None
    return pyarrow.CompressedInputStream(raw, "zstd")
