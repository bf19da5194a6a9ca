"""What the security team subscribes to: a text that benign traffic would almost never produce."""

from typing import Annotated, Literal

from pydantic import Field

from schemas.job import Source, WithAllMetadata
from schemas.signal import EvidenceSpan, Probability, Severity, Signal, SignalScore


class Alarm(WithAllMetadata):
    """A flagged item. Published once, together with its result."""

    schema_version: Literal[1] = 1
    alarm_id: Annotated[str, Field(description="Equal to the id of the result that raised it.")]
    job_id: str
    item_id: str
    tenant: str | None = None
    source: Source = "other"
    severity: Severity
    signal: Annotated[Signal, Field(description="The signal with the smallest p-value.")]
    p_value: Probability
    extrapolated: bool = False
    signals: list[SignalScore]
    evidence: list[EvidenceSpan]
    policy: str
    codebook: str
