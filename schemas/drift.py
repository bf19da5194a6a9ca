"""The traffic of a policy is no longer what the codebook was calibrated on."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from schemas.signal import Probability


class Drift(BaseModel):
    """A sustained departure of p-values from uniform, as one worker process saw it. Counts only, nothing of a text."""

    model_config = ConfigDict(extra="forbid", strict=True)

    schema_version: Literal[1] = 1
    codebook: Annotated[str, Field(description="Fingerprint of the codebook.")]
    policy: str
    worker: Annotated[str, Field(description="Host and process id: every process watches its own share of the jobs.")]
    direction: Annotated[
        Literal["smaller", "larger"],
        Field(description="smaller: texts look more suspicious than they should, and more are flagged than chosen."),
    ]
    distance: Annotated[
        Probability, Field(description="Largest distance of the share below a p-value from the expected one.")
    ]
    tolerated: Annotated[
        Probability, Field(description="Distance that chance may account for, or that does not matter.")
    ]
    windows: Annotated[int, Field(ge=1, description="Windows in a row that departed; the figures are the last one's.")]
    texts: Annotated[int, Field(ge=1, description="Texts counted in a window.")]
    flagged: Annotated[int, Field(ge=0, description="Texts under the widest budget meanwhile; they are not counted.")]
    above: Annotated[Probability, Field(description="That budget; the bins divide the p-values from it to 1.")]
    counts: Annotated[
        list[Annotated[int, Field(ge=0)]],
        Field(description="Texts in each of equal bins, the smallest p-values first; equal numbers are expected."),
    ]
    remedy: str
