"""The Celery application.

``celery -A tasks.app worker`` finds it; nothing is read from the environment before something asks for it.
"""

from celery import Celery
from kombu import Exchange, Queue

from schemas.names import QUEUE_BULK, QUEUE_INTERACTIVE, QUEUE_WEBHOOKS, TASK_SCREEN
from tasks.roles import delivers_webhooks
from worker.settings import Settings, load_settings

BROKER_TIMEOUT_S = 30.0
"""Seconds after which a broker that says nothing counts as gone."""

RESULT_EXPIRES_S = 3600
"""Celery results, which only producers who ask for one get, are for waiting, not for keeping."""


def create_app(settings: Settings) -> Celery:
    """Build the application for workers and producers.

    Delivery: a job is acknowledged after its results are in Redis (late), and comes back if its worker
    dies. An unexpected exception puts it back as well; ``max_attempts`` ends that.
    """
    url = settings.redis_url.get_secret_value()
    webhooks = delivers_webhooks(settings)
    include = ["tasks.deliver"] if webhooks else ["tasks.screen", "tasks.control"]
    app = Celery("alknet_firewall", broker=url, backend=url, include=include)
    app.firewall_settings = settings
    app.conf.update(
        worker_consumer="tasks.consumer:BuryingConsumer",
        # A prefork child loads its model before it says that it is up.
        worker_proc_alive_timeout=120.0,
        accept_content=["json"],
        task_serializer="json",
        result_serializer="json",
        result_accept_content=["json"],
        result_expires=RESULT_EXPIRES_S,
        task_queues=[
            Queue(name, Exchange(name, type="direct"), routing_key=name)
            for name in dict.fromkeys([*([] if webhooks else [QUEUE_INTERACTIVE, QUEUE_BULK]), *settings.queues])
        ],
        task_default_queue=QUEUE_WEBHOOKS if webhooks else QUEUE_INTERACTIVE,
        task_create_missing_queues=False,
        task_routes={TASK_SCREEN: {"queue": QUEUE_INTERACTIVE}},
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        # An exception that escapes a task must not acknowledge it: the task itself decides.
        task_acks_on_failure_or_timeout=False,
        worker_prefetch_multiplier=1,
        worker_concurrency=settings.concurrency,
        worker_hijack_root_logger=False,
        worker_send_task_events=False,
        task_send_sent_event=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_transport="tasks.broker.transport:Transport",
        broker_connection_retry_on_startup=True,
        # A worker outlasts any outage of Redis: by default it would give up after 100 tries.
        broker_connection_max_retries=None,
        # A Redis that is full, or read-only after a failover, is an outage too, and no reason to end.
        broker_channel_error_retry=True,
        broker_transport_options={
            "visibility_timeout": settings.visibility_timeout_s,
            "unacked_restore_interval": min(10.0, settings.visibility_timeout_s / 3),
            "socket_timeout": BROKER_TIMEOUT_S,
            "socket_connect_timeout": 5,
            "socket_keepalive": True,
        },
        result_backend_transport_options={"visibility_timeout": settings.visibility_timeout_s},
        # Time of the broker's Redis never enters a decision; results carry UTC.
        enable_utc=True,
    )
    return app


def __getattr__(name: str) -> Celery:
    """Build ``app`` when it is first asked for, by Celery's command line for example."""
    if name != "app":
        raise AttributeError(name)
    from tasks.roles import install

    settings = load_settings()
    built = create_app(settings)
    install(settings)
    globals()["app"] = built
    return built
