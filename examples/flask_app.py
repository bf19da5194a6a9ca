"""Flask: a comment waits for its verdict, an upload does not.

pip install flask 'celery[redis]'
flask --app examples/flask_app run
"""

import os
import uuid

from celery import Celery
from celery.exceptions import TimeoutError as NoVerdict
from flask import Flask, jsonify, request
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

REDIS_URL = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")
TIMEOUT_S = float(os.environ.get("FIREWALL_WAIT_S", "5"))
# What happens when there is no verdict in time: open lets the comment through, closed refuses it.
FAIL_OPEN = os.environ.get("FIREWALL_FAIL", "closed") == "open"

firewall = Celery(broker=REDIS_URL, backend=REDIS_URL, set_as_current=False)
firewall.conf.update(
    broker_transport_options={"socket_connect_timeout": 2, "socket_timeout": 5},
    # Celery tries for 20 s to reach a result store that is away, too long for a request.
    result_backend_transport_options={"retry_policy": {"max_retries": 1, "interval_start": 0, "interval_max": 0.1}},
)
# What Celery raises when there is no verdict in time, and when Redis is away.
UNAVAILABLE = (NoVerdict, OperationalError, RedisError, RuntimeError, OSError)
app = Flask(__name__)


def send(text: str, *, source: str, queue: str, **options):
    job = {"job_id": str(uuid.uuid4()), "source": source, "items": [{"id": "text", "text": text}]}
    options = {"queue": queue, "argsrepr": "(hidden)", "retry": False, **options}
    return job["job_id"], firewall.send_task("alknet_firewall.screen", args=[job], **options)


def allowed(text: str) -> bool:
    """Screen a text and wait for the verdict."""
    pending = None
    try:
        _, pending = send(text, source="chat", queue="screening", ignore_result=False, expires=TIMEOUT_S)
        result = pending.get(timeout=TIMEOUT_S)[0]
        pending.forget()
    except UNAVAILABLE:
        return FAIL_OPEN
    if result["status"] == "error":  # its author chose a text that cannot be screened, or the worker could not say
        return FAIL_OPEN and result["error"]["retryable"]
    return result["verdict"] == "clean"


@app.post("/messages")
def comment():
    text = request.get_json()["text"]
    if not allowed(text):
        return jsonify(blocked=True), 422
    return jsonify(answer=f"(the model answers {len(text)} characters)")


@app.post("/documents")
def upload():
    try:
        job_id, _ = send(request.get_json()["text"], source="document", queue="screening.bulk", ignore_result=True)
    except UNAVAILABLE:
        return jsonify(error="try again later"), 503
    return jsonify(job_id=job_id), 202
