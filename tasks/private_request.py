"""Keep screened text out of Celery's events, logs and remote-control replies."""

from typing import Any

from celery.exceptions import InvalidTaskError
from celery.worker.request import Request

from tasks.leases import leases

HIDDEN = "(hidden)"


class PrivateRequest(Request):
    """A task request that never shows its arguments.

    Celery puts a repr of the arguments into events (worker -E), into replies to ``inspect active`` and
    into its own repr. The message header holds one that the producer's Celery made, so that it must be
    hidden here and not where jobs are sent.
    """

    def __init__(self, message: Any, *args: Any, **kwargs: Any):
        """Read a message; Celery itself stops the worker over a body of another shape.

        Raises:
            InvalidTaskError: The body is not ``[args, kwargs, embed]``.
        """
        try:
            super().__init__(message, *args, **kwargs)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise InvalidTaskError(type(error).__name__) from None
        if not isinstance(self.args, list | tuple) or not isinstance(self.kwargs, dict):
            raise InvalidTaskError("arguments are not a list and an object")
        if self._expires is not None:
            self._request_dict["expires"] = self._expires.isoformat()  # as Celery understood it
        self._tag = str(message.delivery_tag)
        leases.hold(self._tag)

    def acknowledge(self) -> None:
        """Acknowledge the message and give its lease back."""
        super().acknowledge()
        leases.release(self._tag)

    def reject(self, requeue: bool = False) -> None:
        """Hand the message back or drop it, and give its lease back."""
        super().reject(requeue=requeue)
        leases.release(self._tag)

    def maybe_expire(self) -> bool:
        """Let a late job reach the task, which answers it: Celery would drop it without a word."""
        return False

    def send_event(self, type: str, **fields: Any) -> None:  # noqa: A002 - Celery's signature
        """Send an event without what a task returned or raised: excerpts of evidence may be in it."""
        for name in ("result", "exception", "traceback"):
            fields.pop(name, None)
        super().send_event(type, **fields)

    @property
    def argsrepr(self) -> str:
        """Positional arguments as shown."""
        return HIDDEN

    @property
    def kwargsrepr(self) -> str:
        """Keyword arguments as shown."""
        return HIDDEN

    def info(self, safe: bool = False) -> dict[str, Any]:
        """Return what remote control may know of the request."""
        shown: dict[str, Any] = super().info(safe=safe) | {"args": HIDDEN, "kwargs": HIDDEN}
        return shown

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.name}[{self.id}]>"
