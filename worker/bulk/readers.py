"""Read rows from a stream of bytes, one format a function. Each holds one row, or one batch, in memory."""

import csv
import io
import json
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from schemas.limits import MAX_ITEM_CHARACTERS
from worker.bulk.rows import Columns, Row, row_id
from worker.errors import InputError, InvalidField, InvalidUnicode, MissingExtra, TextTooLong, UnreadableInput

MAX_LINE_BYTES = 16 * 1024 * 1024
"""Bytes of a line that is still parsed; far more than a screenable text and its neighbours need."""

PARQUET_BATCH = 256

Position = Callable[[], int]
Reader = Callable[[BinaryIO, str, Columns, Position], Iterator[Row]]


def read_jsonl(stream: BinaryIO, name: str, columns: Columns, position: Position) -> Iterator[Row]:
    """Yield a row for every line that is not blank: an object, or a string that is the text itself."""
    for number, line in _lines(stream):
        if line is not None and not line.strip():
            continue
        yield _json_row(line, name, number, columns, position())


def read_lines(stream: BinaryIO, name: str, columns: Columns, position: Position) -> Iterator[Row]:
    """Yield a row for every line that is not blank; the line is the text."""
    del columns
    for number, line in _lines(stream):
        if line is None:
            yield _faulty(name, number, _too_long("the line"), position())
        elif line.strip():
            yield _text_row(line.rstrip(b"\r\n"), name, number, f"{name}:{number}", position())


def read_text(stream: BinaryIO, name: str, columns: Columns, position: Position) -> Iterator[Row]:
    """Yield the whole file as one row, named like the file."""
    del columns
    content = stream.read(4 * MAX_ITEM_CHARACTERS + 4)
    yield _text_row(content.removeprefix(b"\xef\xbb\xbf"), name, 1, name, position())


def read_csv(stream: BinaryIO, name: str, columns: Columns, position: Position) -> Iterator[Row]:
    """Yield a row for every record after the header; numbered from 1 without it.

    Raises:
        UnreadableInput: The header has no such text column.
    """
    csv.field_size_limit(MAX_LINE_BYTES)
    # Bytes that are not UTF-8 become lone surrogates, which are refused row by row.
    text = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="")
    try:
        yield from _csv_rows(csv.DictReader(text, restkey="", restval=None), name, columns, position)
    finally:
        text.detach()  # the stream is the caller's to close


def read_parquet(stream: BinaryIO, name: str, columns: Columns, position: Position) -> Iterator[Row]:
    """Yield the rows of a Parquet file, batch by batch.

    Raises:
        MissingExtra: pyarrow is not installed.
        UnreadableInput: The file is none, or has no such text column.
    """
    parquet = import_parquet()
    try:
        file = parquet.ParquetFile(stream)
    except Exception as error:  # noqa: BLE001 - whatever the library finds wrong with a hostile file
        raise UnreadableInput(f"{name} is not a Parquet file that can be read ({type(error).__name__})") from None
    names = file.schema_arrow.names
    if columns.text not in names:
        raise UnreadableInput(f"{name} has no column {columns.text!r}; choose one by --text")
    wanted = None if columns.whole else [column for column in (columns.id, columns.text) if column in names]
    number = 0
    for batch in file.iter_batches(batch_size=PARQUET_BATCH, columns=wanted):
        for record in batch.to_pylist():
            number += 1
            yield Row(
                input=name,
                number=number,
                id=row_id(record.get(columns.id), name, number),
                text=record[columns.text],
                original=record if columns.whole else None,
                position=position(),
            )


READERS: dict[str, Reader] = {
    "jsonl": read_jsonl,
    "csv": read_csv,
    "parquet": read_parquet,
    "text": read_text,
    "lines": read_lines,
}


def import_parquet() -> Any:
    """Return ``pyarrow.parquet``.

    Raises:
        MissingExtra: It is not installed.
    """
    try:
        import pyarrow.parquet
    except ImportError:
        raise MissingExtra("pyarrow is not installed: pip install 'alknet-firewall[bulk]'") from None
    return pyarrow.parquet


def _csv_rows(records: "csv.DictReader[str]", name: str, columns: Columns, position: Position) -> Iterator[Row]:
    if columns.text not in (records.fieldnames or ()):
        raise UnreadableInput(f"{name} has no column {columns.text!r} in its first line; choose one by --text")
    number = 0
    while True:
        number += 1
        try:
            record = next(records)
        except StopIteration:
            return
        except csv.Error:
            yield _faulty(name, number, InvalidField("the record is not CSV, or a field is too long"), position())
            continue
        record.pop("", None)
        yield Row(
            input=name,
            number=number,
            id=row_id(record.get(columns.id), name, number),
            text=record[columns.text],
            original=record if columns.whole else None,
            position=position(),
        )


def _lines(stream: BinaryIO) -> Iterator[tuple[int, bytes | None]]:
    """Yield numbered lines; None for one over ``MAX_LINE_BYTES``, which is skipped and never held."""
    number = 0
    while line := stream.readline(MAX_LINE_BYTES):
        number += 1
        if len(line) < MAX_LINE_BYTES or line.endswith(b"\n"):
            yield number, line
            continue
        while (rest := stream.readline(MAX_LINE_BYTES)) and not rest.endswith(b"\n"):
            pass
        yield number, None


def _json_row(line: bytes | None, name: str, number: int, columns: Columns, position: int) -> Row:
    if line is None:
        return _faulty(name, number, _too_long("the line"), position)
    try:
        content = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
    except UnicodeDecodeError:
        return _faulty(name, number, InvalidUnicode("the line is not UTF-8"), position)
    original = content if columns.whole else None
    try:
        raw = json.loads(content)
    except (ValueError, RecursionError):
        return _faulty(name, number, InvalidField("the line is not JSON"), position, {"line": content})
    if isinstance(raw, str):
        return Row(name, number, f"{name}:{number}", raw, original, None, position)
    if not isinstance(raw, dict):
        return _faulty(name, number, InvalidField("the line is not a JSON object"), position, {"line": content})
    identity = row_id(raw.get(columns.id), name, number)
    fault = None
    if columns.text not in raw:
        fault = InvalidField(f"there is no field {columns.text!r}; choose one by --text", field="text")
    return Row(name, number, identity, raw.get(columns.text), original, fault, position)


def _text_row(content: bytes, name: str, number: int, identity: str, position: int) -> Row:
    """Return a row of plain text; what is not UTF-8 or longer than any item is a faulty one."""
    fault: InputError | None = None
    text = None
    try:
        text = content.decode()
    except UnicodeDecodeError:
        # A text cut off within a character is too long, not badly encoded.
        too_long = len(content) > 4 * MAX_ITEM_CHARACTERS
        fault = _too_long("the text") if too_long else InvalidUnicode("the text is not UTF-8; convert it first")
    return Row(name, number, identity, text, {"id": identity, "text": text}, fault, position)


def _too_long(what: str) -> TextTooLong:
    return TextTooLong(f"{what} has more than {MAX_ITEM_CHARACTERS} characters; split it first", field="text")


def _faulty(name: str, number: int, fault: InputError, position: int, original: dict[str, Any] | None = None) -> Row:
    return Row(name, number, f"{name}:{number}", None, original, fault, position)
