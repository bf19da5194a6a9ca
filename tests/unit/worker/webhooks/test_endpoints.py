"""Endpoint settings, and that secrets show nowhere."""

import time
from typing import Any

import pytest
from pydantic import SecretStr

from worker.errors import InvalidEndpoint
from worker.webhooks.endpoints import Keys, endpoint_of

URL = "https://hooks.example/services/T0/B0/XQZSECRET?token=XQZTOKEN"


def test_ids_are_made_when_none_is_given() -> None:
    first, second = endpoint_of({"url": URL}), endpoint_of({"url": URL})
    assert first.id != second.id
    assert first.id.startswith("ep-")


@pytest.mark.parametrize(
    "fields",
    [
        {"id": "Has Spaces"},
        {"id": "x" * 33},
        {"format": "teams"},
        {"signals": ["jailbraek"]},
        {"signals": []},
        {"min_severity": "high"},
        {"sources": ["fax"]},
        {"tenants": ["a b"]},
        {"digest_s": 0},
        {"digest_max": 101},
        {"rate": 0},
        {"parallel": 0},
        {"digest_s": 60, "rate": 1.0},
        {"paralel": 4},
    ],
)
def test_wrong_fields_are_refused_without_quoting_the_url(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidEndpoint) as caught:
        endpoint_of({"url": URL, **fields})
    assert "XQZ" not in caught.value.message
    assert caught.value.code == "invalid_endpoint"


def test_the_url_is_not_shown_beyond_its_host() -> None:
    endpoint = endpoint_of({"url": URL})
    assert endpoint.shown_url == "https://hooks.example/…"
    assert "XQZ" not in repr(endpoint) + str(endpoint)


def test_secrets_are_not_shown() -> None:
    keys = Keys(signing=((SecretStr("whsec_XQZ"), None),), routing_key=SecretStr("XQZ"))
    assert "XQZ" not in repr(keys) + str(keys) + keys.model_dump_json()
    assert Keys.model_validate_json(keys.stored()) == keys


def test_a_secret_ends_with_its_rotation() -> None:
    keys = Keys(signing=((SecretStr("new"), None), (SecretStr("old"), time.time() + 60)))
    assert keys.valid() == ["new", "old"]
    assert keys.valid(time.time() + 61) == ["new"]
