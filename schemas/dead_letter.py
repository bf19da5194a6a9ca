"""What could not be processed at all, kept for a person to look at."""

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from schemas.result import ErrorInfo


class DeadLetter(BaseModel):
    """A job the worker gave up on. Holds the producer's payload: protect the stream like the queue."""

    model_config = ConfigDict(extra="forbid", strict=True)

    schema_version: Literal[1] = 1
    task_id: str
    queue: str
    attempts: Annotated[int, Field(ge=1)]
    error: ErrorInfo
    payload: Annotated[Any, Field(description="The task's argument, as it was received.")]

    @field_validator("payload")
    @classmethod
    def payload_can_be_written(cls, value: Any) -> Any:
        """Replace lone surrogates, which JSON can carry as escapes and UTF-8 cannot."""
        return json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))
