"""Sentry gets errors, and nothing of the text: proved on the very bytes that would be sent."""

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sentry_sdk
from sentry_sdk.envelope import Envelope
from sentry_sdk.transport import Transport

from worker.errors import ForwardFailed
from worker.observe.sentry import init_sentry
from worker.settings import load_settings

MARKER = "Zebrafink"
DSN = "https://key@sentry.invalid/1"


class MemoryTransport(Transport):
    """Keeps what would be sent."""

    sent: list[bytes]

    def __init__(self, options: dict[str, Any] | None = None):
        super().__init__(options)
        self.sent = []

    def capture_envelope(self, envelope: Envelope) -> None:
        self.sent.append(envelope.serialize())


@pytest.fixture
def sent() -> Iterator[Callable[[], str]]:
    """Sentry, switched on; returns all that it has sent so far."""
    transport = MemoryTransport()
    assert init_sentry(load_settings(sentry_dsn=DSN), transport=transport)

    def everything() -> str:
        sentry_sdk.flush()
        return b"".join(transport.sent).decode()

    yield everything
    sentry_sdk.get_client().close()
    sentry_sdk.Scope.get_global_scope().set_client(None)


def screen(text: str) -> None:
    prompt = f"local {text}"
    raise ValueError(f"cannot parse {prompt}")


def test_foreign_exception_keeps_type_and_place_only(sent: Callable[[], str]) -> None:
    try:
        screen(MARKER)
    except ValueError:
        sentry_sdk.capture_exception()
    assert "ValueError" in sent()
    assert "test_sentry.py" in sent()
    assert MARKER not in sent()


def test_our_own_errors_keep_their_message(sent: Callable[[], str]) -> None:
    try:
        raise ForwardFailed("the model failed on this text (RuntimeError)")
    except ForwardFailed:
        sentry_sdk.capture_exception()
    assert "the model failed on this text (RuntimeError)" in sent()


def test_text_in_the_cause_of_our_own_error_is_removed(sent: Callable[[], str]) -> None:
    try:
        try:
            screen(MARKER)
        except ValueError as error:
            raise ForwardFailed("the model failed") from error
    except ForwardFailed:
        sentry_sdk.capture_exception()
    assert "the model failed" in sent()
    assert MARKER not in sent()


def test_notes_on_an_exception_are_removed(sent: Callable[[], str]) -> None:
    try:
        error = RuntimeError("x")
        error.add_note(MARKER)
        raise error
    except RuntimeError:
        sentry_sdk.capture_exception()
    assert "RuntimeError" in sent()
    assert MARKER not in sent()


def test_arguments_of_a_log_record_are_removed(sent: Callable[[], str]) -> None:
    logging.getLogger("worker.screening").error("cannot score %s", MARKER, extra={"text": MARKER})
    assert "cannot score %s" in sent()
    assert MARKER not in sent()


def test_text_that_a_library_formats_into_its_log_message_is_removed(sent: Callable[[], str]) -> None:
    logging.getLogger("some.library").error(f"cannot parse {MARKER}")  # noqa: G004
    assert "some.library" in sent()
    assert MARKER not in sent()


def test_exception_logged_with_text_is_removed(sent: Callable[[], str]) -> None:
    try:
        screen(MARKER)
    except ValueError as error:
        logging.getLogger("some.library").exception(error)  # noqa: TRY401
    assert "ValueError" in sent()
    assert MARKER not in sent()


def test_context_of_the_moment_is_removed(sent: Callable[[], str]) -> None:
    with sentry_sdk.new_scope() as scope:
        scope.set_tag("text", MARKER)
        scope.set_extra("text", MARKER)
        scope.set_context("job", {"text": MARKER})
        scope.set_user({"id": MARKER})
        scope.add_breadcrumb(message=MARKER)
        try:
            raise RuntimeError
        except RuntimeError:
            sentry_sdk.capture_exception()
    assert "RuntimeError" in sent()
    assert MARKER not in sent()


def test_captured_message_is_removed(sent: Callable[[], str]) -> None:
    sentry_sdk.capture_message(f"saw {MARKER}")
    assert MARKER not in sent()


def test_source_lines_are_not_sent(sent: Callable[[], str]) -> None:
    try:
        raise RuntimeError
    except RuntimeError:
        sentry_sdk.capture_exception()
    assert "context_line" not in sent()
    assert '"vars"' not in sent()


@pytest.mark.parametrize("dsn", [None, ""])
def test_without_a_dsn_sentry_is_off(dsn: str | None) -> None:
    assert init_sentry(load_settings(sentry_dsn=dsn)) is False
