"""What a job comes to: a result for every item, an alarm for every flagged one, and how both are published."""

import hashlib
from collections.abc import Sequence
from typing import Any, Literal

from schemas.alarm import Alarm
from schemas.job import JobHeader
from schemas.result import ItemResult, result_id
from schemas.signal import Signal
from worker.errors import FirewallError, JobIdReused
from worker.text.admission import Admitted, Refused
from worker.topic.publisher import Publisher

Outcome = tuple[ItemResult, Alarm | None]


def publish(publisher: Publisher, raw: Any, outcomes: Sequence[Outcome]) -> tuple[list[Outcome], int]:
    """Publish what was not published before, and tell a redelivery from an id that another text has used.

    Args:
        publisher: The result topic.
        raw: The job as it came.
        outcomes: What it came to.

    Returns:
        The outcomes as they stand now, and how many were new. A verdict under the id of another text's verdict
        has become the error ``job_id_reused``, published as well.

    Raises:
        TopicError: Redis did not take them.
    """
    contents = [fingerprint(raw, result) for result, _ in outcomes]
    published = publisher.publish(outcomes, contents)
    if published == len(outcomes):
        return list(outcomes), published
    known = publisher.contents([result.result_id for result, _ in outcomes])
    standing = [
        (reused(result, content), None) if before and content and before != content else (result, alarm)
        for (result, alarm), content, before in zip(outcomes, contents, known, strict=True)
    ]
    fresh = [outcome for outcome, (result, _) in zip(standing, outcomes, strict=True) if outcome[0] is not result]
    return standing, published + (publisher.publish(fresh) if fresh else 0)


def fingerprint(raw: Any, result: ItemResult) -> str:
    """Return a fingerprint of what a verdict depends on: text, source and policy. Empty for an error."""
    if result.status != "screened" or result.item_index is None:
        return ""
    parts = (raw["items"][result.item_index]["text"], result.source, result.policy)
    return hashlib.blake2b("\x00".join(parts).encode(), digest_size=16).hexdigest()


def reused(result: ItemResult, content: str) -> ItemResult:
    """Return the error result in place of a verdict whose id another text has used."""
    error = JobIdReused(
        "another text has been screened under this job and item id; its verdict stands. Use a fresh job id for "
        "every job",
        field="job_id",
    )
    name = result_id(
        result.job_id, result.item_id, result.item_index, tenant=result.tenant, failed=True, content=content
    )
    kept = ("job_id", "item_id", "item_index", "tenant", "source", "policy", "metadata", "characters")
    return ItemResult(
        result_id=name, status="error", error=error.info(), **{field: getattr(result, field) for field in kept}
    )


def refusal(header: JobHeader, refused: Refused) -> ItemResult:
    """Return the error result of an item that was not admitted."""
    result = blank(header, refused.item_id, refused.index, "error", by_index=refused.ambiguous)
    result.error = refused.error.info()
    return result


def failure(header: JobHeader, admitted: Admitted, error: FirewallError) -> ItemResult:
    """Return the error result of an item that was admitted but could not be screened."""
    result = blank(header, admitted.item.id, admitted.index, "error")
    result.metadata = header.metadata | admitted.item.metadata
    result.characters = len(admitted.item.text)
    result.error = error.info()
    return result


def alarm_of(result: ItemResult, leading: Signal) -> Alarm | None:
    """Return the alarm that a flagged result raises; ``leading`` is the signal it is named after."""
    if result.severity is None or result.p_value is None or result.item_id is None or result.codebook is None:
        return None
    return Alarm(
        alarm_id=result.result_id,
        job_id=result.job_id,
        item_id=result.item_id,
        tenant=result.tenant,
        source=result.source,
        metadata=result.metadata,
        severity=result.severity,
        signal=leading,
        p_value=result.p_value,
        extrapolated=result.extrapolated,
        signals=result.signals,
        evidence=result.evidence,
        policy=result.policy,
        codebook=result.codebook,
    )


def blank(
    header: JobHeader,
    item_id: str | None,
    index: int | None,
    status: Literal["screened", "error"],
    *,
    by_index: bool = False,
) -> ItemResult:
    """Return a result that says whose it is, and nothing yet of what was found."""
    return ItemResult(
        result_id=result_id(
            header.job_id, item_id, index, by_index=by_index, tenant=header.tenant, failed=status == "error"
        ),
        job_id=header.job_id,
        item_id=item_id,
        item_index=index,
        tenant=header.tenant,
        source=header.source,
        policy=header.policy,
        metadata=header.metadata,
        status=status,
    )
