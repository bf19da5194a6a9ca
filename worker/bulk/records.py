"""What is written about a row."""

from typing import Any

from worker.bulk.chunks import Chunk
from worker.bulk.output import Record
from worker.bulk.rows import Row
from worker.errors import FirewallError, NoVerdict

KEPT = (
    "status", "verdict", "severity", "shadow", "score", "p_value", "extrapolated", "signals", "evidence", "characters",
    "tokens", "windows", "policy", "codebook", "error", "result_id",
)  # fmt: skip
"""Fields of a result that go into the record; the others say what the run's options say already."""


def records_of(chunk: Chunk, results: list[dict[str, Any]]) -> list[Record]:
    """Return one record for every row of a chunk, in order.

    Args:
        chunk: The chunk.
        results: Of its items, in any order; one that is missing becomes an error record.
    """
    by_place = {
        chunk.places[result["item_index"]]: result
        for result in results
        if isinstance(result.get("item_index"), int) and result["item_index"] < len(chunk.places)
    }
    return [
        _record(row, by_place[place]) if place in by_place else _error(row, chunk.refused.get(place))
        for place, row in enumerate(chunk.rows)
    ]


def _record(row: Row, result: dict[str, Any]) -> Record:
    if result["status"] == "error":
        return _place(row) | {"status": "error", "error": result["error"]}
    return _place(row) | {name: result.get(name) for name in KEPT if name != "error"}


def _error(row: Row, fault: FirewallError | None) -> Record:
    error = fault or NoVerdict("the worker's answer for this row never came; see `alknet-firewall watch --results`")
    return _place(row) | {"status": "error", "error": error.info().model_dump()}


def _place(row: Row) -> Record:
    return {"input": row.input, "row": row.number, "id": row.id}
