"""Requests are accepted by the specification's own verifier, and by it alone with the right secret."""

from datetime import UTC, datetime, timedelta

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from worker.errors import InvalidEndpoint
from worker.webhooks.signing import check_secret, new_secret, signed_headers

BODY = '{"id":"a","text":"grüße — 你好"}'


def test_the_librarys_verifier_accepts_a_request() -> None:
    secret = new_secret()
    assert Webhook(secret).verify(BODY.encode(), signed_headers("msg_1", BODY, [secret]))["id"] == "a"


@pytest.mark.parametrize("change", ["webhook-id", "webhook-timestamp", "body", "secret"])
def test_it_refuses_what_was_changed_on_the_way(change: str) -> None:
    secret = new_secret()
    headers = signed_headers("msg_1", BODY, [secret])
    if change == "webhook-timestamp":
        headers[change] = str(int(headers[change]) - 1)
    elif change in headers:
        headers[change] += "x"
    verifier = Webhook(new_secret() if change == "secret" else secret)
    with pytest.raises(WebhookVerificationError):
        verifier.verify(BODY + " " if change == "body" else BODY, headers)


def test_during_a_rotation_either_secret_verifies() -> None:
    old, new, other = new_secret(), new_secret(), new_secret()
    headers = signed_headers("msg_1", BODY, [new, old])
    assert len(headers["webhook-signature"].split()) == 2
    for secret in (old, new):
        Webhook(secret).verify(BODY, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(other).verify(BODY, headers)


def test_the_timestamp_is_that_of_the_attempt() -> None:
    secret = new_secret()
    late = signed_headers("msg_1", BODY, [secret], datetime.now(UTC) - timedelta(minutes=10))
    with pytest.raises(WebhookVerificationError, match="too old"):
        Webhook(secret).verify(BODY, late)


def test_secrets_are_fresh_and_of_the_specified_form() -> None:
    made = {new_secret() for _ in range(50)}
    assert len(made) == 50
    assert all(check_secret(secret) == secret for secret in made)


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_c2hvcnQ=", "whsec_!!!", new_secret().removeprefix("whsec_")])
def test_weak_or_malformed_secrets_are_refused_unquoted(secret: str) -> None:
    with pytest.raises(InvalidEndpoint) as caught:
        check_secret(secret)
    assert not secret or secret == "whsec_" or secret not in caught.value.message
