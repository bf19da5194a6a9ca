"""An application that has Celery already: a task of its own asks for a verdict and never blocks its worker.

    celery --app examples.celery_app worker
    python -c "from examples.celery_app import publish; publish.delay('comment-1', 'a text')"

The firewall is another application on the same or another Redis; its tasks are called by name.
"""

import os

from celery import Celery
from redis import Redis

REDIS_URL = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")
TIMEOUT_S = float(os.environ.get("FIREWALL_WAIT_S", "30"))
PAUSE_S = 0.2
# What happens when there is no verdict in time: open publishes the comment, closed holds it back.
FAIL_OPEN = os.environ.get("FIREWALL_FAIL", "closed") == "open"

app = Celery("shop", broker=REDIS_URL, backend=REDIS_URL)
firewall = Celery(broker=REDIS_URL, backend=REDIS_URL, set_as_current=False)
database = Redis.from_url(REDIS_URL, decode_responses=True)


@app.task
def publish(comment_id: str, text: str) -> None:
    """Ask, and look for the answer in another task: `get()` here would hold a slot of this worker."""
    job = {"job_id": comment_id, "source": "chat", "items": [{"id": comment_id, "text": text}]}
    pending = firewall.send_task(
        "alknet_firewall.screen",
        args=[job],
        queue="screening",
        ignore_result=False,
        expires=TIMEOUT_S,
        argsrepr="(hidden)",
    )
    decide.apply_async([comment_id, pending.id], countdown=PAUSE_S)


@app.task(bind=True, max_retries=int(TIMEOUT_S / PAUSE_S))
def decide(self, comment_id: str, task_id: str) -> str:
    pending = firewall.AsyncResult(task_id)
    if not pending.ready() and self.request.retries < self.max_retries:
        raise self.retry(countdown=PAUSE_S)
    result = pending.result[0] if pending.successful() else None
    if result is None or (result["status"] == "error" and result["error"]["retryable"]):
        state = "published" if FAIL_OPEN else "held"
    else:  # a text that cannot be screened is refused whatever the choice: its author chose what it is
        state = "published" if result["verdict"] == "clean" else "refused"
    database.hset("shop:comments", comment_id, state)
    return state
