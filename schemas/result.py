"""What the worker answers for every item it accepted, and for every item it could not screen."""

import uuid
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from schemas.job import Source, WithAllMetadata
from schemas.signal import EvidenceSpan, Probability, Severity, SignalScore

_RESULT_NAMESPACE = uuid.UUID("5f0d8d3e-6f0a-5b1e-9b57-0d6f3a1b7c11")


def result_id(
    job_id: str,
    item_id: str | None,
    item_index: int | None,
    *,
    by_index: bool = False,
    tenant: str | None = None,
    failed: bool = False,
    content: str = "",
) -> str:
    """Identify the result of one item, the same on every redelivery of its job.

    Args:
        job_id: The job's id.
        item_id: The item's id, or None when it could not be read.
        item_index: The item's position in the job, or None for the job as a whole.
        by_index: Tell items with the same id apart by their position.
        tenant: Tenants choose their job ids independently.
        content: Fingerprint of the item, where two items of one id must be told apart.
        failed: An error result must not stand in the way of a verdict that a corrected job brings later.

    Returns:
        A UUID (version 5, RFC 9562 section 5.5) as text: the deduplication key of the result topic.
    """
    place = f"#{item_index}" if item_id is None or by_index else ""
    parts = [job_id, item_id or "", place, *([f"tenant={tenant}"] if tenant else []), *(["error"] if failed else [])]
    if content:
        parts.append(f"content={content}")
    return str(uuid.uuid5(_RESULT_NAMESPACE, "\x00".join(parts)))


class ErrorInfo(BaseModel):
    """Why an item was not screened."""

    model_config = ConfigDict(extra="forbid", strict=True)

    code: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", description="Stable; branch on this.")]
    message: Annotated[str, Field(description="What was wrong, the limit and the remedy. Never the text.")]
    retryable: Annotated[bool, Field(description="The same input may succeed later.")]
    field: Annotated[str | None, Field(description="The input's field at fault, if one is.")] = None


class ItemResult(WithAllMetadata):
    """The outcome for one item: screened, or an error."""

    schema_version: Literal[1] = 1
    result_id: str
    job_id: str
    item_id: Annotated[str | None, Field(description="Null when the item's id could not be read.")]
    item_index: Annotated[int | None, Field(ge=0, description="Null when the job as a whole failed.")]
    tenant: str | None = None
    source: Source = "other"
    status: Literal["screened", "error"]
    verdict: Annotated[Literal["clean", "flagged"] | None, Field(description="Null when the status is error.")] = None
    severity: Annotated[
        Severity | None,
        Field(description="How rare such a text is; in shadow mode what it would be flagged as."),
    ] = None
    shadow: Annotated[bool, Field(description="The policy is on trial: the verdict is clean whatever was found.")] = (
        False
    )
    score: Annotated[
        float | None,
        Field(allow_inf_nan=False, description="Document statistic of the policy; higher is more suspicious."),
    ] = None
    p_value: Probability | None = None
    extrapolated: bool = False
    signals: list[SignalScore] = Field(default_factory=list)
    evidence: list[EvidenceSpan] = Field(default_factory=list)
    characters: Annotated[int | None, Field(ge=0)] = None
    tokens: Annotated[int | None, Field(ge=0)] = None
    windows: Annotated[int | None, Field(ge=0)] = None
    policy: str = "default"
    codebook: Annotated[str | None, Field(description="Fingerprint of the codebook that scored it.")] = None
    error: ErrorInfo | None = None
