"""What could not be processed at all, kept for a person to look at."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from schemas.result import ErrorInfo


class Start(BaseModel):
    """One start of a job that came to no end."""

    model_config = ConfigDict(extra="forbid", strict=True)

    time: Annotated[str, Field(description="RFC 3339, UTC.")]
    worker: Annotated[str, Field(description="Host and process id.")]


class DeadLetter(BaseModel):
    """A job the worker gave up on. Holds the producer's payload: protect the stream like the queue."""

    model_config = ConfigDict(extra="forbid", strict=True)

    schema_version: Literal[1] = 1
    task_id: str
    queue: str
    attempts: Annotated[int, Field(ge=1)]
    error: ErrorInfo
    history: Annotated[list[Start], Field(description="Starts that came to no end, the oldest first.")] = Field(
        default_factory=list
    )
    truncated: Annotated[bool, Field(description="The payload is only its beginning.")] = False
    payload: Annotated[str, Field(description="The task's argument, or an unreadable message's body, as JSON text.")]
