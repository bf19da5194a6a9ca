"""Labelled texts for fitting and measuring: JSON lines, optionally gzipped."""

import gzip
import hashlib
import io
import json
import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from schemas.signal import SIGNALS
from worker.errors import InvalidField

_NOT_COMMERCIAL = re.compile(r"\bnc\b|non-?\s?commercial|^none stated")


@dataclass(frozen=True, slots=True)
class LabelledText:
    """One row.

    Attributes:
        id: Unique in its file; defaults to the line's number.
        text: The text.
        label: 0 benign, 1 attack; None when a row to evaluate has none.
        signal: A signal, or ``benign``; None if unknown.
        source: Where it came from; groups are formed by it.
        language: ISO 639-1 code, or empty.
        pair: Shared by an attack and its harmless twin, which was written to be as near to it as can be; or empty.
    """

    id: str
    text: str
    label: int | None
    signal: str | None
    source: str
    language: str = ""
    pair: str = ""


def read_rows(paths: Iterable[Path], *, commercial_only: bool = False) -> list[LabelledText]:
    """Read files in order.

    Args:
        paths: ``.jsonl`` or ``.jsonl.gz``; rows have ``text`` and, to fit on, ``label`` and ``signal``.
        commercial_only: Leave out rows whose ``license`` forbids commercial use or states none.

    Raises:
        InvalidField: A line is not a row; the message gives file and line.
    """
    return [row for path in data_files(paths) for row in _read(path, commercial_only=commercial_only)]


def data_files(paths: Iterable[Path]) -> list[Path]:
    """Return the files; a directory stands for its ``.jsonl`` and ``.jsonl.gz`` files in order of name."""
    return [file for path in paths for file in (sorted(path.glob("*.jsonl*")) if path.is_dir() else [path])]


def file_sha256(path: Path) -> str:
    """Return the hash of a data file's uncompressed content, for the provenance."""
    digest = hashlib.sha256()
    with _open(path) as lines:
        for line in lines:
            digest.update(line.encode())
    return digest.hexdigest()


def held_out(row: LabelledText, share: float, salt: str) -> bool:
    """Tell whether a row belongs to the share that is set aside; by hash, so the same on every machine.

    Args:
        row: The row.
        share: Between 0 and 1.
        salt: Sets of different salts are independent.
    """
    digest = hashlib.sha256(f"{salt}\x00{row.source}\x00{row.id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


def source_group(row: LabelledText) -> str:
    """Return the group of a row: the repository it came from, or its family in the project's corpus.

    Rows of one group share a style; a detector that learnt the style is found out on another group.
    """
    name = re.split(r"[:(,]", row.source, maxsplit=1)[0].strip()
    return name if ":" in row.source else name.split("/")[0]


def _open(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return io.TextIOWrapper(gzip.open(path), encoding="utf-8")
    return path.open(encoding="utf-8")


def json_objects(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the objects of a file of JSON lines, each with its line's number; blank lines are skipped.

    Raises:
        InvalidField: The file cannot be read, or a line is not an object; the message has no text of it.
    """
    try:
        with _open(path) as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield number, _object(line, f"{path.name}, line {number}")
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise InvalidField(f"{path.name} cannot be read as UTF-8 JSON lines ({type(error).__name__})") from None


def _object(line: str, place: str) -> dict[str, Any]:
    try:
        raw = json.loads(line)
    except (ValueError, RecursionError):
        raw = None
    if not isinstance(raw, dict):
        raise InvalidField(f"{place}: not a JSON object")
    return raw


def _read(path: Path, *, commercial_only: bool) -> Iterator[LabelledText]:
    for number, raw in json_objects(path):
        licence = str(raw.get("license") or "none stated").lower()
        if commercial_only and _NOT_COMMERCIAL.search(licence):
            continue
        try:
            yield _row(raw, str(number))
        except InvalidField as error:
            raise InvalidField(f"{path.name}, line {number}: {error.message}", field=error.field) from None


def _row(raw: dict[str, object], number: str) -> LabelledText:
    text, label, signal = raw.get("text"), raw.get("label"), raw.get("signal")
    if not isinstance(text, str):
        raise InvalidField("text must be there and be a string", field="text")
    if isinstance(label, bool) or label not in (0, 1, None):
        raise InvalidField("label must be 0 or 1, or left out", field="label")
    if signal not in (None, "benign", *SIGNALS):
        raise InvalidField(f"signal must be benign or one of {', '.join(SIGNALS)}", field="signal")
    if not text.isascii():
        _refuse_surrogates(text)
    return LabelledText(
        id=str(raw.get("id", number)),
        text=text,
        label=None if label is None else int(str(label)),
        signal=None if signal is None else str(signal),
        source=_source(raw),
        language=str(raw.get("language", "")),
        pair=str(raw.get("pair") or ""),
    )


def _source(raw: dict[str, object]) -> str:
    """Return the row's source; rows of the project's own corpus have a family and a theme instead."""
    if "family" in raw:
        return f"{raw['family']}/{raw.get('theme', '')}"
    return str(raw.get("source") or "")


def _refuse_surrogates(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidField("text has lone surrogates and is not valid Unicode", field="text") from None
