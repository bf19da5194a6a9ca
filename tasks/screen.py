"""The task producers call: ``alknet_firewall.screen``."""

import logging
import time
import traceback
from datetime import datetime
from typing import Any

import sentry_sdk
from celery import Task, shared_task
from celery.exceptions import Reject

from schemas.names import QUEUE_BULK, QUEUE_INTERACTIVE, TASK_SCREEN
from tasks.process import runner
from worker.errors import EngineStopped, FirewallError
from worker.screening.jobs import Delivery

log = logging.getLogger(__name__)


BACK_OFF_S = 1.0
"""Seconds before a job goes back, or a job that cannot be started (Redis is full) would circle at full speed."""


class ScreeningTask(Task):
    """A task whose arguments are private."""

    Request = "tasks.private_request:PrivateRequest"


@shared_task(name=TASK_SCREEN, base=ScreeningTask, bind=True, ignore_result=True, typing=False)
def screen(self: Task, *args: Any, **kwargs: Any) -> list[dict[str, Any]]:
    """Screen a job; called as ``send_task("alknet_firewall.screen", args=[job])``.

    Arguments are taken as they come and checked by the worker, so that a wrong call is answered on the
    result topic instead of being lost in a TypeError.

    Returns:
        The results of all items, for producers who set ``ignore_result=False``.

    Raises:
        Reject: The job goes back to its queue; the worker could not finish it for a reason of its own.
    """
    queue = (self.request.delivery_info or {}).get("routing_key") or QUEUE_INTERACTIVE
    delivery = Delivery(
        task_id=str(self.request.id), queue=queue, bulk=queue == QUEUE_BULK, expires=_time_of(self.request.expires)
    )
    try:
        results = runner().run(_job_of(args, kwargs), delivery)
    except EngineStopped as error:
        raise Reject(error.code, requeue=True) from None
    except FirewallError as error:
        log.warning("job goes back task=%s code=%s: %s", delivery.task_id, error.code, error.message)
        time.sleep(BACK_OFF_S)
        raise Reject(error.code, requeue=True) from None
    except Exception as error:  # noqa: BLE001 - whatever it is, the job goes back
        # The message of a foreign exception may quote the text; its type and place are enough.
        place = traceback.extract_tb(error.__traceback__)[-1]
        log.error(  # noqa: TRY400
            "job goes back task=%s: unexpected %s at %s:%s",
            *(delivery.task_id, type(error).__name__, place.filename, place.lineno),
        )
        sentry_sdk.capture_exception(error)
        time.sleep(BACK_OFF_S)
        raise Reject("internal_error", requeue=True) from None
    if self.request.ignore_result:
        return []
    return [result.model_dump(mode="json") for result in results]


def _time_of(expires: object) -> datetime | None:
    """Return the ``expires`` of a message as ``PrivateRequest`` wrote it."""
    return datetime.fromisoformat(expires) if isinstance(expires, str) else None


def _job_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> object:
    """Return what is meant to be the job; anything else a caller sent is judged as it is."""
    if len(args) == 1 and not kwargs:
        return args[0]
    if not args and set(kwargs) == {"job"}:
        return kwargs["job"]
    return [*args, kwargs]
