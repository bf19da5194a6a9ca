"""Django in one file: a validator that any form or serializer can use, a view that waits, a view that does not.

pip install django 'celery[redis]'
python examples/django_app.py runserver
"""

import json
import os
import sys
import uuid

from celery import Celery
from celery.exceptions import TimeoutError as NoVerdict
from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.management import execute_from_command_line
from django.http import HttpRequest, JsonResponse
from django.urls import path
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

settings.configure(
    SECRET_KEY=os.environ.get("SECRET_KEY", "only-for-this-example"),
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["127.0.0.1", "localhost"],
    FIREWALL_REDIS_URL=os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0"),
    FIREWALL_WAIT_S=float(os.environ.get("FIREWALL_WAIT_S", "5")),
    # What happens when there is no verdict in time: True lets the text through, False refuses it.
    FIREWALL_FAIL_OPEN=os.environ.get("FIREWALL_FAIL", "closed") == "open",
)

firewall = Celery(broker=settings.FIREWALL_REDIS_URL, backend=settings.FIREWALL_REDIS_URL, set_as_current=False)
firewall.conf.update(
    broker_transport_options={"socket_connect_timeout": 2, "socket_timeout": 5},
    # Celery tries for 20 s to reach a result store that is away, too long for a request.
    result_backend_transport_options={"retry_policy": {"max_retries": 1, "interval_start": 0, "interval_max": 0.1}},
)
# What Celery raises when there is no verdict in time, and when Redis is away.
UNAVAILABLE = (NoVerdict, OperationalError, RedisError, RuntimeError, OSError)


def send(text: str, *, source: str, queue: str, **options):
    job = {"job_id": str(uuid.uuid4()), "source": source, "items": [{"id": "text", "text": text}]}
    options = {"queue": queue, "argsrepr": "(hidden)", "retry": False, **options}
    return job["job_id"], firewall.send_task("alknet_firewall.screen", args=[job], **options)


def harmless(text: str) -> None:
    """A validator: `prompt = forms.CharField(validators=[harmless])`."""
    wait_s, open_ = settings.FIREWALL_WAIT_S, settings.FIREWALL_FAIL_OPEN
    try:
        _, pending = send(text, source="chat", queue="screening", ignore_result=False, expires=wait_s)
        result = pending.get(timeout=wait_s)[0]
        pending.forget()
    except UNAVAILABLE:
        result = {"status": "error", "error": {"retryable": True}}
    if result["status"] == "error":
        # Only a firewall that could not say leaves a choice; a text that cannot be screened is its author's doing.
        if not (open_ and result["error"]["retryable"]):
            raise ValidationError("This text could not be checked.", code="not_screened")
    elif result["verdict"] == "flagged":
        raise ValidationError("This text was refused.", code="flagged")


def message(request: HttpRequest) -> JsonResponse:
    text = json.loads(request.body)["text"]
    try:
        harmless(text)
    except ValidationError as error:
        return JsonResponse({"blocked": True, "code": error.code}, status=422)
    return JsonResponse({"answer": f"(the model answers {len(text)} characters)"})


def document(request: HttpRequest) -> JsonResponse:
    text = json.loads(request.body)["text"]
    try:
        job_id, _ = send(text, source="document", queue="screening.bulk", ignore_result=True)
    except UNAVAILABLE:
        return JsonResponse({"error": "try again later"}, status=503)
    return JsonResponse({"job_id": job_id}, status=202)


urlpatterns = [path("messages", message), path("documents", document)]

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
