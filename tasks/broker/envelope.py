"""Read what lies in a queue: Kombu's envelope around a body, or anything at all that somebody pushed."""

import base64
import binascii
import zlib
from typing import Any

from kombu.utils.json import loads

from schemas.limits import MAX_MESSAGE_BYTES

UNREADABLE = "unreadable"
"""Header of a message that stands in for what could not be read: why."""

_HEADERS: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("task", "id", "root_id", "parent_id", "group", "shadow", "eta", "expires"), str),
    "retries": int,
    "replaced_task_nesting": int,
    "timelimit": list,
    "stamps": dict,
    "stamped_headers": list,
}
"""Types of the headers that Celery's worker acts on (message protocol 2); None is as good as absent."""

_GZIP = "application/x-gzip"


class _Unreadable(Exception):
    """Why an element of a queue is no message; never quotes it."""


def open_envelope(raw: bytes, size: int, queue: str, tag: str) -> dict[str, Any]:
    """Return an element of a queue in the form of Kombu's virtual transports.

    What cannot be read becomes a message too, with the reason in the header ``UNREADABLE``, so that it
    reaches the consumer, which buries it. The body is decoded and unpacked here, within bounds.

    Args:
        raw: The element, or its beginning if it is larger than ``MAX_MESSAGE_BYTES``.
        size: Bytes of the whole element.
        queue: Where it lay; overrides what the message says.
        tag: The delivery tag it was taken under; overrides the producer's.
    """
    try:
        envelope = _opened(raw, size)
    except _Unreadable as error:
        envelope = {"body": raw, "headers": {UNREADABLE: str(error)}, "properties": {}, "content-encoding": "binary"}
    envelope["properties"] |= {
        "delivery_tag": tag,
        "delivery_info": {"exchange": "", "routing_key": queue},
        "body_encoding": None,
    }
    return envelope


def _opened(raw: bytes, size: int) -> dict[str, Any]:
    if size > MAX_MESSAGE_BYTES:
        raise _Unreadable(f"the message has {size} bytes, the limit is {MAX_MESSAGE_BYTES}; split the job")
    try:
        envelope = loads(raw.decode("utf-8"))
    except Exception:  # noqa: BLE001 - Kombu's decoders of dates and decimals raise what they like
        raise _Unreadable("the element of the queue is not JSON; send jobs with a Celery producer") from None
    if not (
        isinstance(envelope, dict)
        and isinstance(envelope.get("body"), str)
        and isinstance(envelope.get("headers"), dict)
        and isinstance(envelope.get("properties"), dict)
    ):
        raise _Unreadable("the element of the queue is no Celery message; send jobs with a Celery producer")
    _check(envelope["headers"])
    envelope["body"] = _unpacked(
        _decoded(envelope["body"], envelope["properties"].get("body_encoding")),
        # Removed, or Kombu would unpack it without a bound.
        envelope["headers"].pop("compression", None),
    )
    return envelope


def _check(headers: dict[str, Any]) -> None:
    """Refuse headers that Celery would stumble over when it is too late to bury the message."""
    for name, kinds in _HEADERS.items():
        value = headers.get(name)
        if value is None and name not in ("task", "id"):
            continue
        if name in headers and not isinstance(value, kinds):
            raise _Unreadable(f"the header {name} has a wrong type; send jobs with a Celery producer")
        if isinstance(value, str) and not value.isascii():
            raise _Unreadable(f"the header {name} is not ASCII; send jobs with a Celery producer")


def _decoded(body: str, encoding: object) -> bytes:
    if encoding in (None, "utf-8"):
        return body.encode("utf-8", "surrogatepass")
    if encoding != "base64":
        raise _Unreadable("the body's encoding is unknown; use base64, Celery's default")
    try:
        return base64.b64decode(body)
    except (binascii.Error, ValueError):
        raise _Unreadable("the body is not base64") from None


def _unpacked(body: bytes, compression: object) -> bytes:
    if not compression:
        return body
    if compression != _GZIP:
        raise _Unreadable("the body's compression is not gzip; set task_compression to gzip or leave it away")
    unpacker = zlib.decompressobj()
    try:
        unpacked = unpacker.decompress(body, MAX_MESSAGE_BYTES + 1)
    except zlib.error:
        raise _Unreadable("the body's compression is damaged") from None
    if len(unpacked) > MAX_MESSAGE_BYTES:
        raise _Unreadable(f"the body unpacks to more than {MAX_MESSAGE_BYTES} bytes; split the job")
    if not unpacker.eof:
        raise _Unreadable("the body's compression is damaged")
    return unpacked
