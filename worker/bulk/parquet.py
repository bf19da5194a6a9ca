"""Records as a Parquet file: made from the JSON lines when a run is finished, a batch at a time."""

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from worker.bulk.readers import import_parquet

BATCH = 2000

PLAIN = {
    "input": "string", "row": "int64", "id": "string", "status": "string", "verdict": "string", "severity": "string",
    "shadow": "bool_", "score": "float64", "p_value": "float64", "extrapolated": "bool_", "characters": "int64",
    "tokens": "int64", "windows": "int64", "policy": "string", "codebook": "string", "result_id": "string",
}  # fmt: skip


def write_parquet(lines: Path, target: Path) -> None:
    """Convert a file of records.

    Args:
        lines: JSON lines, as a run writes them.
        target: Replaced as a whole.

    Raises:
        MissingExtra: pyarrow is not installed.
    """
    parquet = import_parquet()
    schema = _schema()
    temporary = target.with_name(target.name + ".tmp")
    with lines.open(encoding="utf-8") as file, parquet.ParquetWriter(temporary, schema, compression="zstd") as writer:
        for records in _batches(file):
            writer.write_table(_table(records, schema))
    temporary.replace(target)


def _batches(lines: Any) -> Iterator[list[dict[str, Any]]]:
    while batch := [json.loads(line) for line in islice(lines, BATCH)]:
        yield batch


def _schema() -> Any:
    import pyarrow

    spans = pyarrow.list_(
        pyarrow.struct(
            [
                ("signal", pyarrow.string()),
                ("start", pyarrow.int64()),
                ("end", pyarrow.int64()),
                ("weight", pyarrow.float64()),
            ]
        )
    )
    scores = pyarrow.list_(
        pyarrow.struct([("signal", pyarrow.string()), ("score", pyarrow.float64()), ("p_value", pyarrow.float64())])
    )
    fields = [(name, getattr(pyarrow, kind)()) for name, kind in PLAIN.items()]
    errors = [("error_code", pyarrow.string()), ("error_message", pyarrow.string())]
    return pyarrow.schema([*fields, ("signals", scores), ("evidence", spans), *errors])


def _table(records: list[dict[str, Any]], schema: Any) -> Any:
    import pyarrow

    for record in records:
        error = record.pop("error", None) or {}
        record |= {"error_code": error.get("code"), "error_message": error.get("message")}
    return pyarrow.Table.from_pylist(records, schema=schema)
