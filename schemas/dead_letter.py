"""What could not be processed at all, kept for a person to look at."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from schemas.result import ErrorInfo


class DeadLetter(BaseModel):
    """A job the worker gave up on. Holds the producer's payload: protect the stream like the queue."""

    model_config = ConfigDict(extra="forbid", strict=True)

    schema_version: Literal[1] = 1
    task_id: str
    queue: str
    attempts: Annotated[int, Field(ge=1)]
    error: ErrorInfo
    payload: Annotated[str, Field(description="The task's argument, or an unreadable message's body, as JSON text.")]
