"""What a producer sends: a job of one or more items."""

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from schemas import limits

Source = Literal["chat", "document", "tool", "email", "web", "other"]
"""Where a text came from."""

JobId = Annotated[
    str,
    StringConstraints(pattern=r"^[!-~]+$", min_length=1, max_length=limits.MAX_ID_CHARACTERS),
    Field(description="Unique per job; printable ASCII without spaces. Submitting it again is idempotent."),
]
ItemId = Annotated[
    str,
    StringConstraints(pattern=r"^[^\x00-\x1f\x7f]+$", min_length=1, max_length=limits.MAX_ID_CHARACTERS),
    Field(description="Unique within its job; no control characters."),
]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.:-]+$", min_length=1, max_length=64)]
MetadataValue = str | bool | int | Annotated[float, Field(allow_inf_nan=False)] | None
Metadata = Annotated[
    dict[str, MetadataValue],
    Field(
        max_length=limits.MAX_METADATA_KEYS,
        description="Flat, returned unchanged with the result; at most "
        f"{limits.MAX_METADATA_BYTES} bytes as JSON. Put correlation ids here, never the text.",
    ),
]


class WithMetadata(BaseModel):
    """Base of the models that carry a producer's metadata."""

    model_config = ConfigDict(extra="forbid", strict=True)

    metadata: Metadata = Field(default_factory=dict)

    @field_validator("metadata")
    @classmethod
    def metadata_is_small(cls, value: dict[str, Any]) -> dict[str, Any]:
        """Refuse metadata over ``MAX_METADATA_BYTES``.

        Raises:
            ValueError: The object is too large as compact JSON.
        """
        size = len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())
        if size > limits.MAX_METADATA_BYTES:
            raise ValueError(f"metadata has {size} bytes as JSON, the limit is {limits.MAX_METADATA_BYTES}")
        return value


class WithAllMetadata(BaseModel):
    """Base of what the worker publishes: the metadata of a job and of its item together."""

    model_config = ConfigDict(extra="forbid", strict=True)

    metadata: Annotated[dict[str, MetadataValue], Field(max_length=2 * limits.MAX_METADATA_KEYS)] = Field(
        default_factory=dict
    )


class Item(WithMetadata):
    """One text with an id."""

    id: ItemId
    text: Annotated[
        str,
        StringConstraints(min_length=1, max_length=limits.MAX_ITEM_CHARACTERS),
        Field(description="The text to screen, as the model would read it. No U+0000, no lone surrogates."),
    ]


class JobHeader(WithMetadata):
    """A job without its items: what holds for all of them."""

    schema_version: Literal[1] = 1
    job_id: JobId
    source: Source = "other"
    tenant: Name | None = None
    policy: Name = "default"


class Job(JobHeader):
    """What a producer sends as the only positional argument of the task ``alknet_firewall.screen``."""

    items: Annotated[list[Item], Field(min_length=1, max_length=limits.MAX_ITEMS_PER_JOB)]

    @model_validator(mode="after")
    def items_fit_together(self) -> "Job":
        """Refuse ids that occur twice and texts that are together over ``MAX_JOB_BYTES``.

        Raises:
            ValueError: The items do not make a job.
        """
        if len({item.id for item in self.items}) < len(self.items):
            raise ValueError("two items have the same id")
        size = sum(len(item.text.encode()) for item in self.items)
        if size > limits.MAX_JOB_BYTES:
            raise ValueError(f"the texts have {size} bytes, the limit is {limits.MAX_JOB_BYTES}")
        return self
