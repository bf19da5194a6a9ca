"""One time limit for a whole request. HTTP libraries limit each read alone, and a drop a second never ends."""

import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import httpcore2
from httpcore2 import NetworkStream

_ends: ContextVar[float | None] = ContextVar("_ends", default=None)


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Limit everything that this thread does within to so many seconds."""
    token = _ends.set(time.monotonic() + seconds)
    try:
        yield
    finally:
        _ends.reset(token)


def seconds_left(limit: float | None = None) -> float | None:
    """Return the smaller of ``limit`` and what is left until the deadline; at least a millisecond."""
    ends = _ends.get()
    if ends is None:
        return limit
    left = max(0.001, ends - time.monotonic())
    return left if limit is None else min(limit, left)


class DeadlineStream(NetworkStream):
    """A connection whose reads and writes end with the deadline of the request they belong to."""

    def __init__(self, stream: NetworkStream):
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Read what is there.

        Raises:
            httpcore2.ReadTimeout: The deadline has passed.
        """
        ends = _ends.get()
        if ends is not None and time.monotonic() >= ends:
            raise httpcore2.ReadTimeout
        return self._stream.read(max_bytes, seconds_left(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Write all of it."""
        self._stream.write(buffer, seconds_left(timeout))

    def close(self) -> None:
        """Close the connection."""
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> NetworkStream:
        """Go on encrypted; the certificate is checked against the URL's host, not against the address."""
        return DeadlineStream(self._stream.start_tls(ssl_context, server_hostname, seconds_left(timeout)))

    def get_extra_info(self, info: str) -> Any:
        """Return what the connection knows of itself."""
        return self._stream.get_extra_info(info)
