"""Whatever lies in a queue becomes a message that a consumer can judge."""

import base64
import json
import zlib
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kombu.transport import virtual

from schemas import limits
from tasks.broker import envelope as envelope_module
from tasks.broker.envelope import UNREADABLE, open_envelope

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
ENVELOPES = st.fixed_dictionaries(
    {},
    optional={
        "body": JSON | st.just("e30="),
        "headers": JSON | st.fixed_dictionaries({}, optional={"task": JSON, "id": JSON, "compression": JSON}),
        "properties": JSON
        | st.fixed_dictionaries({}, optional={"body_encoding": JSON, "delivery_info": JSON, "delivery_tag": JSON}),
        "content-type": JSON,
        "content-encoding": JSON,
    },
)


def opened(raw: bytes) -> dict[str, Any]:
    return open_envelope(raw, len(raw), "screening", "tag:screening")


def message(body: str = "e30=", encoding: str = "base64", **headers: Any) -> bytes:
    return json.dumps({"body": body, "headers": headers, "properties": {"body_encoding": encoding}}).encode()


def zipped(body: bytes) -> str:
    return base64.b64encode(zlib.compress(body)).decode()


@given(st.binary() | ENVELOPES.map(lambda value: json.dumps(value).encode()))
def test_anything_becomes_a_message_under_the_tag_it_was_taken_by(raw: bytes) -> None:
    made = virtual.Message(opened(raw), channel=SimpleNamespace(decode_body=lambda body, _encoding: body))
    assert made.delivery_tag == "tag:screening"
    assert made.delivery_info == {"exchange": "", "routing_key": "screening"}
    assert isinstance(made.body, bytes | None)
    if UNREADABLE in made.headers:
        assert made.body in (raw, None, b"")
    else:
        assert all(isinstance(made.headers.get(name, ""), str) for name in ("task", "id"))
        assert str(made.headers.get("id", "")).isascii()


def test_a_message_of_celery_is_taken_as_it_is() -> None:
    found = opened(message(base64.b64encode(b'[["x"], {}, {}]').decode(), task="t", id="i"))
    assert found["body"] == b'[["x"], {}, {}]'
    assert found["headers"] == {"task": "t", "id": "i"}
    assert opened(message("ü", "utf-8"))["body"] == "ü".encode()


def test_gzip_is_unpacked_once_and_within_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(envelope_module, "MAX_MESSAGE_BYTES", 2000)
    found = opened(message(zipped(b"a" * 2000), compression="application/x-gzip"))
    assert found["body"] == b"a" * 2000
    assert "compression" not in found["headers"], "or Kombu would unpack it again, without a bound"
    found = opened(message(zipped(b"a" * 2001), compression="application/x-gzip"))
    assert "unpacks to more than 2000 bytes" in found["headers"][UNREADABLE]


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (message(zipped(b"abc")[:-8] + "AAAA", compression="application/x-gzip"), "damaged"),
        (message(base64.b64encode(zlib.compress(b"abc")[:-5]).decode(), compression="application/x-gzip"), "damaged"),
        (message(compression="application/x-bz2"), "not gzip"),
        (message(compression=["gzip"]), "not gzip"),
    ],
    ids=["wrong sum", "cut off", "bzip2", "no text"],
)
def test_other_compression_is_refused(raw: bytes, reason: str) -> None:
    assert reason in opened(raw)["headers"][UNREADABLE]


@pytest.mark.parametrize(
    "headers",
    [
        {"id": "\ud83d"},
        {"id": None},
        {"shadow": ["x"]},
        {"timelimit": "x"},
        {"stamps": 1},
        {"retries": "x"},
        {"eta": 7},
    ],
    ids=str,
)
def test_headers_that_celery_would_stumble_over_are_refused(headers: dict[str, Any]) -> None:
    assert (
        f"the header {next(iter(headers))} "
        in opened(message(**{"task": "t", "id": "i", **headers}))["headers"][UNREADABLE]
    )


def test_the_largest_job_fits_into_a_message() -> None:
    """Six bytes for every byte of text, base64 around it, and room for what else a job holds."""
    worst = (limits.MAX_JOB_BYTES * 6 + limits.MAX_ITEMS_PER_JOB * 2 * limits.MAX_METADATA_BYTES) * 4 / 3
    assert worst < limits.MAX_MESSAGE_BYTES
