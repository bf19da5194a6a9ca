"""The two kinds of worker process: one that screens and holds a model, one that delivers webhooks and needs none."""

from schemas.names import QUEUE_WEBHOOKS
from worker.errors import SettingsError
from worker.settings import Settings


def delivers_webhooks(settings: Settings) -> bool:
    """Tell whether the worker's queues make it a webhooks worker.

    Raises:
        SettingsError: They make it both, and a screening batch would wait for somebody's web server.
    """
    if QUEUE_WEBHOOKS not in settings.queues:
        return False
    if set(settings.queues) != {QUEUE_WEBHOOKS}:
        raise SettingsError(f"the queue {QUEUE_WEBHOOKS} is for a worker of its own: give it no other queue beside")
    return True


def install(settings: Settings) -> None:
    """Connect the signals of the settings' kind of worker. Call once per process, before the worker starts."""
    if delivers_webhooks(settings):
        from tasks import webhook_lifecycle

        webhook_lifecycle.install(settings)
    else:
        # Celery's command line asks about no more than what is imported in its own process.
        from tasks import control as _control  # noqa: F401
        from tasks import lifecycle

        lifecycle.install(settings)
