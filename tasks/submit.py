"""Send jobs the way any Celery producer does: by the task's name."""

import uuid
from collections.abc import Sequence
from typing import Any

from celery import Celery
from celery.result import AsyncResult

from schemas.names import QUEUE_BULK, QUEUE_INTERACTIVE, TASK_SCREEN


def new_job(items: Sequence[dict[str, Any]], **fields: Any) -> dict[str, Any]:
    """Return a job with a fresh id; ``fields`` are further fields of the contract."""
    return {"job_id": fields.pop("job_id", None) or str(uuid.uuid4()), "items": list(items), **fields}


def send_job(
    app: Celery, job: object, *, bulk: bool = False, queue: str | None = None, wait: bool = False
) -> AsyncResult:
    """Enqueue a job.

    Args:
        app: An application with the worker's broker.
        job: The job, not validated: the worker answers a faulty one on the result topic.
        bulk: Use the bulk queue, which yields to interactive jobs.
        queue: A queue of one's own instead.
        wait: Ask for a Celery result to wait on; it costs the worker about a tenth of its queue speed.
    """
    return app.send_task(
        TASK_SCREEN,
        args=[job],
        queue=queue or (QUEUE_BULK if bulk else QUEUE_INTERACTIVE),
        ignore_result=not wait,
        # Celery would put a repr of the text into the message's headers.
        argsrepr="(hidden)",
    )
