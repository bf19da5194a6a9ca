"""The task that looks after one webhook endpoint for a while: ``alknet_firewall.deliver``."""

import logging
import threading
import traceback

import sentry_sdk
from celery import Task, shared_task

from schemas.names import TASK_DELIVER
from worker.errors import FirewallError
from worker.settings import Settings
from worker.webhooks.delivery import Deliverer, deliverer_of
from worker.webhooks.schedule import Nudge

log = logging.getLogger(__name__)

_lock = threading.Lock()
_deliverer: Deliverer | None = None


def deliverer(settings: Settings) -> Deliverer:
    """Return this process's deliverer, made when it is first asked for: connections do not survive a fork."""
    global _deliverer  # noqa: PLW0603 - one set of kept connections a process is the point
    with _lock:
        if _deliverer is None:
            _deliverer = deliverer_of(settings)
        return _deliverer


def stop_delivering() -> None:
    """Let turns end after the request they are in."""
    if _deliverer is not None:
        _deliverer.stop()


class DeliveryTask(Task):
    """A task whose messages may be anything: an unreadable one is refused, not a reason to stop."""

    Request = "tasks.private_request:PrivateRequest"


@shared_task(name=TASK_DELIVER, base=DeliveryTask, bind=True, ignore_result=True, acks_late=False)
def deliver(self: Task, endpoint_id: str, name: str) -> None:
    """Send what is due to an endpoint.

    The task is a nudge and no more: what is due stands in the schedule, so that a nudge that is lost is given
    again, and one too many finds nothing to do. That is why it is acknowledged at once.
    """
    try:
        deliverer(self.app.firewall_settings).turn(Nudge(endpoint_id, name))
    except FirewallError as error:
        log.warning("webhook turn ended early endpoint=%s code=%s: %s", endpoint_id, error.code, error.message)
    except Exception as error:  # noqa: BLE001 - whatever it is, the schedule gives the turn again
        # The message of a foreign exception may quote an alarm or a secret; its type and place are enough.
        place = traceback.extract_tb(error.__traceback__)[-1]
        log.error(  # noqa: TRY400
            "webhook turn ended early endpoint=%s: unexpected %s at %s:%s",
            *(endpoint_id, type(error).__name__, place.filename, place.lineno),
        )
        sentry_sdk.capture_exception(error)
