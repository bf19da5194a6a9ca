"""Sort a message into items that can be screened and errors, without one spoiling its neighbours."""

import re
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from schemas import limits
from schemas.job import Item, JobHeader
from worker.errors import (
    DuplicateItemId,
    EmptyText,
    InputError,
    InvalidField,
    InvalidUnicode,
    JobTooLarge,
    NotAJob,
    TextContainsNul,
    TextTooLong,
    TooManyItems,
    UnknownField,
    UnknownPolicy,
    UnsupportedVersion,
)

_SAFE_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")


@dataclass(frozen=True, slots=True)
class Admitted:
    """An item that can be screened, and its position in the job."""

    index: int
    item: Item


@dataclass(frozen=True, slots=True)
class Refused:
    """An item that cannot, and why.

    Attributes:
        index: Position in the job; None for the job as a whole.
        item_id: None when it could not be read.
        error: Why.
        ambiguous: Other items of the job have the same id.
    """

    index: int | None
    item_id: str | None
    error: InputError
    ambiguous: bool = False


@dataclass(frozen=True, slots=True)
class Admission:
    """A job, sorted. Every item of the message is either admitted or refused."""

    header: JobHeader
    admitted: tuple[Admitted, ...]
    refused: tuple[Refused, ...]


def admit(raw: object, policies: Collection[str]) -> Admission:
    """Validate a task's argument item by item.

    Args:
        raw: The argument, as it came out of the JSON message.
        policies: Names a job may use.

    Raises:
        NotAJob: There is no job id or no list of items to answer for; nothing can be said item by item.
    """
    if not isinstance(raw, dict):
        raise NotAJob("the task's first argument must be a job object; see `alknet-firewall schema job`")
    items = raw.get("items")
    if not isinstance(items, list) or not items:
        raise NotAJob("field items must be a list of at least one item", field="items")
    job_fields = {key: value for key, value in raw.items() if key != "items"}
    try:
        header = JobHeader.model_validate(job_fields)
    except ValidationError as error:
        fault = _newer(job_fields) or _input_error(error, where="job")
        return Admission(_readable_header(job_fields, fault), (), _refuse_all(items, fault))
    if (fault_of_job := _job_fault(header, items, policies)) is not None:
        return Admission(header, (), _refuse_all(items, fault_of_job))
    return _sort(header, items)


def _readable_header(job_fields: dict[Any, Any], fault: InputError) -> JobHeader:
    """Return what can be said of a faulty job: its id, so that the producer finds the errors."""
    try:
        return JobHeader.model_validate({"job_id": job_fields.get("job_id")})
    except ValidationError:
        raise NotAJob(f"the job's id is missing or unusable: {fault.message}", field="job_id") from None


def _newer(job_fields: dict[Any, Any]) -> InputError | None:
    version, known = job_fields.get("schema_version"), JobHeader.model_fields["schema_version"].default
    if isinstance(version, bool) or not isinstance(version, int) or version <= known:
        return None
    return UnsupportedVersion(
        f"the job has schema_version {version:.0f}, this worker reads {known}; upgrade the worker, then "
        "`alknet-firewall dead-letters replay`",
        field="schema_version",
    )


def _job_fault(header: JobHeader, items: list[Any], policies: Collection[str]) -> InputError | None:
    if header.policy not in policies:
        known = ", ".join(sorted(policies))
        return UnknownPolicy(f"policy {header.policy} is unknown here; known: {known}", field="policy")
    if len(items) > limits.MAX_ITEMS_PER_JOB:
        return TooManyItems(
            f"the job has {len(items)} items, the limit is {limits.MAX_ITEMS_PER_JOB}; split it into several jobs",
            field="items",
        )
    texts = (item.get("text") for item in items if isinstance(item, dict))
    # A text over its own limit is refused alone and costs its neighbours nothing.
    size = sum(
        len(text.encode("utf-8", "surrogatepass"))
        for text in texts
        if isinstance(text, str) and len(text) <= limits.MAX_ITEM_CHARACTERS
    )
    if size > limits.MAX_JOB_BYTES:
        return JobTooLarge(
            f"the job's texts have {size} bytes, the limit is {limits.MAX_JOB_BYTES}; split it into several jobs",
            field="items",
        )
    return None


def _refuse_all(items: list[Any], fault: InputError) -> tuple[Refused, ...]:
    """Refuse every item; a job with too many is answered as a whole, or its answer would be the flood."""
    if len(items) > limits.MAX_ITEMS_PER_JOB:
        return (Refused(None, None, fault),)
    ids = [_readable_id(raw) for raw in items]
    occurrences = Counter(ids)
    return tuple(Refused(index, found, fault, occurrences[found] > 1) for index, found in enumerate(ids))


def _readable_id(raw: object) -> str | None:
    if not isinstance(raw, dict):
        return None
    try:
        return Item.model_validate({"id": raw.get("id"), "text": "-"}).id
    except ValidationError:
        return None


def _sort(header: JobHeader, items: list[Any]) -> Admission:
    ids = [_readable_id(raw) for raw in items]
    occurrences = Counter(ids)
    admitted: list[Admitted] = []
    refused: list[Refused] = []
    for index, (raw, item_id) in enumerate(zip(items, ids, strict=True)):
        try:
            if item_id is not None and occurrences[item_id] > 1:
                raise DuplicateItemId("field id: another item of the job has the same id; make them unique", field="id")
            admitted.append(Admitted(index, _admit_item(raw)))
        except InputError as error:
            refused.append(Refused(index, item_id, error, occurrences[item_id] > 1))
    return Admission(header, tuple(admitted), tuple(refused))


def _admit_item(raw: object) -> Item:
    try:
        item = Item.model_validate(raw)
    except ValidationError as error:
        raise _input_error(error, where="item") from None
    if "\x00" in item.text:
        raise TextContainsNul("field text contains U+0000; remove it before submitting", field="text")
    if not item.text.strip():
        raise EmptyText("field text is only white space; do not submit such items", field="text")
    return item


def _input_error(error: ValidationError, *, where: str) -> InputError:
    """Translate the first fault. The input itself is left out: it may be the screened text."""
    fault = error.errors(include_input=False, include_url=False)[0]
    name = ".".join(_shown(part) for part in fault["loc"]) or where
    kind, place = fault["type"], fault["loc"][:1]
    if kind == "extra_forbidden":
        return UnknownField(f"field {name} is not in the contract; remove it or correct its spelling", field=name)
    if kind == "string_unicode":
        return InvalidUnicode(
            f"field {name} contains lone surrogates and is not valid Unicode; decode it correctly", field=name
        )
    if place == ("text",) and kind == "string_too_short":
        return EmptyText("field text is empty; do not submit such items", field=name)
    if place == ("text",) and kind == "string_too_long":
        return TextTooLong(
            f"field text has more than {limits.MAX_ITEM_CHARACTERS} characters; submit its parts as items",
            field=name,
        )
    if not place:
        return InvalidField(f"the {where} must be an object with the fields of the contract")
    if place == ("metadata",) and len(fault["loc"]) > 1:
        name = f"metadata.{_shown(fault['loc'][1])}"
        return InvalidField(f"field {name} must be text, a finite number, true, false or null", field=name)
    return InvalidField(f"field {name}: {fault['msg']}", field=name)


def _shown(part: int | str) -> str:
    """Return a field's name if it looks like one; a name of any other shape could be screened text."""
    text = str(part)
    return text if _SAFE_NAME.fullmatch(text) else "(unprintable)"
