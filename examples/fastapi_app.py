"""FastAPI: a chat turn waits for its verdict, a document does not.

pip install fastapi uvicorn 'celery[redis]'
uvicorn fastapi_app:app --app-dir examples
"""

import os
import uuid

from celery import Celery
from celery.exceptions import TimeoutError as NoVerdict
from fastapi import FastAPI, HTTPException
from fastapi.concurrency import run_in_threadpool
from kombu.exceptions import OperationalError
from pydantic import BaseModel
from redis.exceptions import RedisError

REDIS_URL = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")
TIMEOUT_S = float(os.environ.get("FIREWALL_WAIT_S", "5"))
# What happens to a turn when there is no verdict in time. Choose once, in sight: letting it through (open) keeps
# the chat alive while the firewall is down, refusing it (closed) keeps the model safe.
FAIL_OPEN = os.environ.get("FIREWALL_FAIL", "closed") == "open"

firewall = Celery(broker=REDIS_URL, backend=REDIS_URL, set_as_current=False)
firewall.conf.update(
    broker_transport_options={"socket_connect_timeout": 2, "socket_timeout": 5},
    # Celery tries for 20 s to reach a result store that is away, too long for a request.
    result_backend_transport_options={"retry_policy": {"max_retries": 1, "interval_start": 0, "interval_max": 0.1}},
)
# What Celery raises when there is no verdict in time, and when Redis is away.
UNAVAILABLE = (NoVerdict, OperationalError, RedisError, RuntimeError, OSError)
app = FastAPI()


class Message(BaseModel):
    text: str


def screen(text: str, source: str) -> dict | None:
    """Return the result for one text, or None if there is none in time. Blocks: call it in a thread."""
    job = {"job_id": str(uuid.uuid4()), "source": source, "items": [{"id": "text", "text": text}]}
    pending = None
    try:
        pending = firewall.send_task(
            "alknet_firewall.screen",
            args=[job],
            queue="screening",
            ignore_result=False,
            expires=TIMEOUT_S,  # no worker need screen what nobody waits for any more
            argsrepr="(hidden)",  # keeps Celery from copying the text into a header
            retry=False,
        )
        return pending.get(timeout=TIMEOUT_S)[0]
    except UNAVAILABLE:
        return None
    finally:
        if pending is not None:
            forget(pending)


def forget(pending) -> None:
    """Let the result go; while Redis is away it expires by itself."""
    try:
        pending.forget()
    except UNAVAILABLE:
        pass


def allowed(result: dict | None) -> bool:
    if result is None or (result["status"] == "error" and result["error"]["retryable"]):
        return FAIL_OPEN  # the firewall could not say
    # A text that cannot be screened, too long for example, is never let through: its author chose what it is.
    return result["status"] == "screened" and result["verdict"] == "clean"


@app.post("/messages")
async def chat(message: Message) -> dict:
    result = await run_in_threadpool(screen, message.text, "chat")
    if not allowed(result):
        raise HTTPException(422, {"blocked": True, "severity": (result or {}).get("severity")})
    return {"answer": f"(the model answers {len(message.text)} characters)"}


@app.post("/documents", status_code=202)
async def document(message: Message) -> dict:
    """Fire and forget: the verdict comes on firewall:results and firewall:alarms; see consumer.py."""
    job = {"job_id": str(uuid.uuid4()), "source": "document", "items": [{"id": "document", "text": message.text}]}
    try:
        await run_in_threadpool(
            firewall.send_task,
            "alknet_firewall.screen",
            args=[job],
            queue="screening.bulk",
            ignore_result=True,
            argsrepr="(hidden)",
            retry=False,
        )
    except UNAVAILABLE as error:
        raise HTTPException(503, "try again later") from error
    return {"job_id": job["job_id"]}
