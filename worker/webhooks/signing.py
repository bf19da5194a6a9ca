"""Sign requests by the Standard Webhooks specification, with the specification's own library."""

import base64
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime

from standardwebhooks import Webhook

from worker.errors import InvalidEndpoint

SECRET_PREFIX = "whsec_"  # noqa: S105 - what a secret begins with, no secret
SECRET_BYTES = 32
SHORTEST, LONGEST = 24, 64
"""Bytes of a secret (specification, section "Signature scheme")."""


def new_secret() -> str:
    """Return a fresh signing secret."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def check_secret(secret: str) -> str:
    """Return a secret that somebody else made, if it is one.

    Raises:
        InvalidEndpoint: It is not; the message does not quote it.
    """
    try:
        size = len(base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True))
    except ValueError:
        size = 0
    if not secret.startswith(SECRET_PREFIX) or not SHORTEST <= size <= LONGEST:
        raise InvalidEndpoint(f"a secret is {SECRET_PREFIX} and base64 of {SHORTEST} to {LONGEST} bytes")
    return secret


def signed_headers(message_id: str, body: str, signing: Sequence[str], at: datetime | None = None) -> dict[str, str]:
    """Return the headers that make a request verifiable.

    Args:
        message_id: The same for every attempt.
        body: Exactly what is sent.
        signing: Secrets; during a rotation two, and one signature for each.
        at: Time of the attempt; by default now. Receivers refuse what is more than minutes old.
    """
    moment = at or datetime.now(UTC)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": " ".join(Webhook(secret).sign(message_id, moment, body) for secret in signing),
    }
