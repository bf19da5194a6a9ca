"""Cut rows into jobs, the same way whenever the same input is read again."""

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from schemas.limits import MAX_ID_CHARACTERS
from worker.bulk.rows import Row
from worker.errors import InputError, InvalidField
from worker.text.admission import admit

CHUNK_BYTES = 1024 * 1024
"""Bytes of texts in one job, unless a single text has more."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SHOWN_NAME = 200


@dataclass(frozen=True, slots=True)
class JobFields:
    """What all jobs of a run have in common: fields of the job of the same names."""

    run: str
    source: str
    policy: str
    tenant: str | None

    def job_id(self, number: int) -> str:
        """Return the id of a chunk's job."""
        return f"bulk-{self.run}-{number}"


@dataclass(slots=True)
class Chunk:
    """Some rows in a row, and the job made of those that can be screened.

    Attributes:
        number: From 0.
        rows: In the order of the input.
        digest: Of all rows up to and including these; tells whether a resumed run reads the same input.
        job: None if no row can be screened.
        places: For each of the job's items the position of its row.
        refused: Why the other rows cannot be screened, by position.
        size: Bytes of the texts.
        mark: Position of the result topic before the job was sent.
    """

    number: int
    rows: list[Row]
    digest: str
    job: dict[str, Any] | None = None
    places: list[int] = field(default_factory=list)
    refused: dict[int, InputError] = field(default_factory=dict)
    size: int = 0
    mark: str = ""


def cut(rows: Iterable[Row], fields: JobFields, *, items: int) -> Iterator[Chunk]:
    """Yield chunks of at most ``items`` rows and about ``CHUNK_BYTES`` bytes.

    Args:
        rows: In order.
        fields: See ``JobFields``.
        items: Rows of a chunk, at most ``schemas.limits.MAX_ITEMS_PER_JOB``.
    """
    digest = hashlib.blake2b(digest_size=16)
    number, waiting, size = 0, list[Row](), 0
    for row in rows:
        more = len(row.text) if isinstance(row.text, str) else 0
        if waiting and (len(waiting) == items or size + more > CHUNK_BYTES):
            yield _chunk(number, waiting, digest.hexdigest(), fields)
            number, waiting, size = number + 1, [], 0
        digest.update(f"{row.id}\x00{row.text}\x00".encode("utf-8", "surrogatepass"))
        waiting.append(row)
        size += more
    if waiting:
        yield _chunk(number, waiting, digest.hexdigest(), fields)


def _chunk(number: int, rows: list[Row], digest: str, fields: JobFields) -> Chunk:
    chunk = Chunk(number, rows, digest)
    taken: set[str] = set()
    items, places = [], []
    for place, row in enumerate(rows):
        if row.fault is not None:
            chunk.refused[place] = row.fault
            continue
        name = PurePath(row.input).name[:_SHOWN_NAME]
        items.append(
            {"id": _item_id(row, place, taken), "text": row.text, "metadata": {"input": name, "row": row.number}}
        )
        places.append(place)
    _admit(chunk, items, places, fields)
    return chunk


def _item_id(row: Row, place: int, taken: set[str]) -> str:
    """Return the row's id, or another if the contract does not allow it or the job has it already."""
    usable = len(row.id) <= MAX_ID_CHARACTERS and not _CONTROL.search(row.id) and row.id.isprintable()
    name = row.id if usable and row.id not in taken else f"row-{row.number}-{place}"
    taken.add(name)
    return name


def _admit(chunk: Chunk, items: list[dict[str, Any]], places: list[int], fields: JobFields) -> None:
    """Keep the items a worker would admit; the others are refused here and never sent."""
    if not items:
        return
    job: dict[str, Any] = {"job_id": fields.job_id(chunk.number), "source": fields.source, "policy": fields.policy}
    if fields.tenant is not None:
        job["tenant"] = fields.tenant
    admission = admit({**job, "items": items}, {fields.policy})
    for refused in admission.refused:
        if refused.index is None:
            raise InvalidField(refused.error.message, field=refused.error.field)
        chunk.refused[places[refused.index]] = refused.error
    chunk.places = [places[admitted.index] for admitted in admission.admitted]
    chunk.size = sum(len(admitted.item.text.encode()) for admitted in admission.admitted)
    if admission.admitted:
        chunk.job = {**job, "items": [items[admitted.index] for admitted in admission.admitted]}
