"""The guard on the way out: a delivery connects to the very address that was checked, or not at all.

The check sits where a socket is opened, below URL parsing, connection pools and TLS, so that no second look at
DNS can bring another answer (rebinding), and nothing that opens a connection goes around it.
"""

import ipaddress
import socket
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotInTime
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpcore2
from httpcore2 import SOCKET_OPTION, NetworkBackend, NetworkStream, SyncBackend

from worker.errors import EgressRefused
from worker.webhooks.addresses import Address, AllowList, is_name, literal_address, refusal
from worker.webhooks.deadline import DeadlineStream, seconds_left

Resolver = Callable[[str, int], Sequence[str]]
"""Host and port to address texts."""

RESOLVE_S = 5.0
MAX_URL = 2_000


@dataclass(frozen=True)
class Target:
    """Where a URL leads, taken apart once.

    Attributes:
        scheme: ``https`` or ``http``.
        host: In lower case, an address without brackets, a name without its last dot.
        port: None for the scheme's own.
        path: Path and query.
    """

    scheme: str
    host: str
    port: int | None
    path: str

    @property
    def authority(self) -> str:
        """Return host and port as the header ``Host`` wants them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port is None else f"{host}:{self.port}"


class SystemResolver:
    """``getaddrinfo`` with a time limit, which it has not itself."""

    def __init__(self, threads: int = 16):
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="firewall-resolve")

    def __call__(self, host: str, port: int) -> list[str]:
        """Return all addresses of a name.

        Raises:
            OSError: There is none, or no answer within ``RESOLVE_S`` seconds.
        """
        looked_up = self._threads.submit(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        try:
            found = looked_up.result(seconds_left(RESOLVE_S))
        except NotInTime:
            looked_up.cancel()
            raise OSError("no answer from DNS") from None
        return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class EgressGuard(NetworkBackend):
    """Opens connections to checked addresses only. A network backend of httpcore.

    Args:
        allowed: What the operator opened.
        resolve: Names to addresses; the system's by default.
        dial: Opens the connections; plain sockets by default.
        trusted: Host and port of the operator's proxy, which is not checked.
    """

    def __init__(
        self,
        allowed: AllowList,
        resolve: Resolver | None = None,
        dial: NetworkBackend | None = None,
        trusted: tuple[str, int] | None = None,
    ):
        self._allowed = allowed
        self._resolve = resolve or SystemResolver()
        self._dial = dial or SyncBackend()
        self._trusted = trusted

    def check_url(self, url: str) -> Target:
        """Return where a URL leads if its form is acceptable. Nothing is resolved.

        Raises:
            EgressRefused: It is not https (http is for hosts on the allow-list), or hides where it leads.
        """
        target = _target(url)
        host = target.host
        if target.scheme != "https" and not (target.scheme == "http" and self._allowed.has_host(host)):
            raise EgressRefused("write an https:// URL; http:// is only for hosts in FIREWALL_WEBHOOK_ALLOW")
        literal = literal_address(host)
        if literal is not None:
            self._check(literal, host)
        elif not is_name(host):
            raise EgressRefused("the host is neither a DNS name nor an address in its usual form")
        elif (host == "localhost" or host.endswith(".localhost")) and not self._allowed.has_host(host):
            raise EgressRefused("the host is this machine")
        return target

    def addresses(self, host: str, port: int) -> list[Address]:
        """Resolve a host once and return its addresses if every one of them is acceptable.

        Raises:
            EgressRefused: One is not; with one bad address among good ones nothing is connected to.
            OSError: The name does not resolve.
        """
        literal = literal_address(host)
        if literal is not None:
            self._check(literal, host)
            return [literal]
        found = [ipaddress.ip_address(text) for text in self._resolve(host, port)]
        for address in found:
            self._check(address, host)
        if not found:
            raise OSError("the name has no address")
        return found

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[SOCKET_OPTION] | None = None,
    ) -> NetworkStream:
        """Open a connection to a host's first address that answers.

        Raises:
            EgressRefused: See ``addresses``.
            httpcore2.ConnectError: The name does not resolve, or nothing answers.
        """
        try:
            hosts = [host] if (host, port) == self._trusted else [str(found) for found in self.addresses(host, port)]
        except OSError as error:
            raise httpcore2.ConnectError("the name does not resolve") from error
        for number, address in enumerate(hosts, start=1):
            try:
                stream = self._dial.connect_tcp(address, port, seconds_left(timeout), local_address, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
                if number == len(hosts):
                    raise
            else:
                return DeadlineStream(stream)
        raise AssertionError("unreachable")

    def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[SOCKET_OPTION] | None = None
    ) -> NetworkStream:
        """Refuse: no endpoint is a file.

        Raises:
            EgressRefused: Always.
        """
        del path, timeout, socket_options
        raise EgressRefused("deliveries do not go to Unix sockets")

    def _check(self, address: Address, host: str) -> None:
        reason = refusal(address, host, self._allowed)
        if reason is not None:
            raise EgressRefused(f"the host leads to {reason}; to open it, see FIREWALL_WEBHOOK_ALLOW")


def _target(url: str) -> Target:
    """Take apart a URL that every parser would take apart alike.

    Raises:
        EgressRefused: It is anything else.
    """
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url or len(url) > MAX_URL:
        raise EgressRefused("write the URL in printable ASCII (host as xn--…), without spaces and backslashes")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise EgressRefused("this is no URL") from None
    if "@" in parts.netloc:
        raise EgressRefused("the URL must not hold a user name or password")
    if "%" in parts.netloc or port == 0 or parts.fragment or parts.netloc.endswith(":"):
        raise EgressRefused("the URL must not hold escapes or a zone in its host, an empty port, or a fragment")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(parts.scheme, host.removesuffix("."), port, path)
