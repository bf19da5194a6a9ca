"""Send one request and say in a few words how it went. Keeps connections alive between requests."""

import ssl
import time
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

import httpcore2

from worker.errors import EgressRefused, SettingsError
from worker.settings import Settings
from worker.webhooks.addresses import AllowList
from worker.webhooks.deadline import deadline
from worker.webhooks.egress import EgressGuard
from worker.webhooks.retries import retry_after_s

KEEP_ALIVE_S = 4.0
"""Shorter than the 5 s after which common servers close an idle connection, so that none is used half dead."""

MAX_KEPT_CONNECTIONS = 256
MAX_RESPONSE_BYTES = 4_096
"""Bytes of a response that are read, so that the connection can be used again, and thrown away."""

_REASONS: dict[type[Exception], str] = {
    httpcore2.ConnectTimeout: "no connection in time",
    httpcore2.TimeoutException: "no answer in time",
    httpcore2.ConnectError: "no connection",
    httpcore2.ProxyError: "the proxy refused",
    httpcore2.ProtocolError: "no HTTP response",
    httpcore2.NetworkError: "connection lost",
    OSError: "connection lost",
}
"""Reasons by kind of fault, the narrower kind before the wider."""

_FAULTS = tuple(_REASONS)


@dataclass(frozen=True)
class Answer:
    """What became of a request.

    Attributes:
        status: HTTP status, or None if there was no response.
        reason: The status or a few words; nothing that the other side wrote.
        retry_after_s: Seconds the receiver asked to be left alone.
        seconds: Duration.
    """

    status: int | None
    reason: str
    retry_after_s: float | None = None
    seconds: float = 0.0

    @property
    def delivered(self) -> bool:
        """Only 2xx is success: a redirect is not followed, and so is none."""
        return self.status is not None and 200 <= self.status < 300


class Sender:
    """Posts to endpoints by way of the guard. For all threads of a process.

    httpcore rather than a full client: it reads no environment, follows no redirect, keeps no cookie and decodes
    no body, and it lets its connections be opened by the guard.

    Args:
        guard: Opens the connections.
        timeout_s: Seconds for a whole request, name resolution to last byte.
        proxy: URL of an egress proxy. The proxy then resolves names, and must itself refuse inner addresses.
        ssl_context: By default the system's certificate authorities, or those of ``SSL_CERT_FILE``.
    """

    def __init__(
        self,
        guard: EgressGuard,
        timeout_s: float = 20.0,
        proxy: str | None = None,
        ssl_context: ssl.SSLContext | None = None,
    ):
        self.guard = guard
        self._timeout_s = timeout_s
        self._pool = _pool(guard, proxy, ssl_context or httpcore2.default_ssl_context())

    def post(self, url: str, headers: dict[str, str], body: bytes) -> Answer:
        """Send a request; whatever goes wrong on the way is in the answer."""
        begun = time.monotonic()
        try:
            status, retry_after = self._post(url, headers, body)
        except EgressRefused as error:
            return Answer(None, f"refused: {error.message.partition(';')[0]}", seconds=time.monotonic() - begun)
        except _FAULTS as error:
            return Answer(None, _reason(error), seconds=time.monotonic() - begun)
        return Answer(status, str(status), retry_after_s(retry_after), time.monotonic() - begun)

    def close(self) -> None:
        """Close all connections."""
        self._pool.close()

    def _post(self, url: str, headers: dict[str, str], body: bytes) -> tuple[int, str | None]:
        target = self.guard.check_url(url)
        address = httpcore2.URL(scheme=target.scheme, host=target.host, port=target.port, target=target.path)
        fields: list[tuple[bytes | str, bytes | str]] = [("Host", target.authority), *headers.items()]
        limits = {"timeout": dict.fromkeys(("connect", "read", "write", "pool"), self._timeout_s)}
        with (
            deadline(self._timeout_s),
            self._pool.stream("POST", address, headers=fields, content=body, extensions=limits) as response,
        ):
            found = {name.lower(): value for name, value in response.headers}.get(b"retry-after")
            # The status has been said; what happens to the rest of the response changes nothing.
            with suppress(*_FAULTS):
                _drain(response)
            return response.status, None if found is None else found.decode("latin-1")


def sender_of(settings: Settings) -> Sender:
    """Return a sender with the settings' allow-list, proxy and time limit.

    Raises:
        SettingsError: The allow-list or the proxy is not usable.
    """
    allowed = AllowList.of(settings.webhook_allow)
    if settings.webhook_proxy is None:
        return Sender(EgressGuard(allowed), settings.webhook_timeout_s)
    proxy = settings.webhook_proxy.get_secret_value()
    parts = urlsplit(proxy)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SettingsError("FIREWALL_WEBHOOK_PROXY: write http://HOST:PORT, with a user and password if need be")
    port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    return Sender(EgressGuard(allowed, trusted=(parts.hostname, port)), settings.webhook_timeout_s, proxy)


def _pool(guard: EgressGuard, proxy: str | None, context: ssl.SSLContext) -> httpcore2.ConnectionPool:
    if proxy is None:
        return httpcore2.ConnectionPool(
            ssl_context=context,
            max_connections=None,
            max_keepalive_connections=MAX_KEPT_CONNECTIONS,
            keepalive_expiry=KEEP_ALIVE_S,
            network_backend=guard,
        )
    parts = urlsplit(proxy)
    auth = (unquote(parts.username), unquote(parts.password or "")) if parts.username else None
    return httpcore2.HTTPProxy(
        httpcore2.URL(scheme=parts.scheme, host=parts.hostname or "", port=parts.port, target="/"),
        proxy_auth=auth,
        ssl_context=context,
        max_connections=None,
        max_keepalive_connections=MAX_KEPT_CONNECTIONS,
        keepalive_expiry=KEEP_ALIVE_S,
        network_backend=guard,
    )


def _drain(response: httpcore2.Response) -> None:
    """Read a short body to its end; leave a long one, which closes the connection."""
    read = 0
    for part in response.iter_stream():
        read += len(part)
        if read > MAX_RESPONSE_BYTES:
            return


def _reason(error: Exception) -> str:
    cause = error.__cause__ or error.__context__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return "certificate not valid for the host"
    if isinstance(cause, ssl.SSLError):
        return "no TLS connection"
    if isinstance(cause, ConnectionRefusedError):
        return "connection refused"
    if isinstance(cause, OSError) and str(error) == "the name does not resolve":
        return str(error)
    return next(reason for kind, reason in _REASONS.items() if isinstance(error, kind))
