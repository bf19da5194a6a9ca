"""Requests over real sockets on loopback: limits, keep-alive, TLS names, and no environment."""

import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from worker.errors import SettingsError
from worker.settings import load_settings
from worker.webhooks.addresses import AllowList
from worker.webhooks.egress import EgressGuard
from worker.webhooks.sender import MAX_RESPONSE_BYTES, Sender, sender_of

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

TLS = ssl.create_default_context()

Serve = Callable[[socket.socket], None]


def request_on(connection: socket.socket) -> bytes:
    """Read one whole request; nothing once the other side has closed."""
    request = b""
    while not (whole := re.search(rb"\r\n\r\n", request)) or len(request) < whole.end() + length_of(request):
        if not (part := connection.recv(65_536)):
            return b""
        request += part
    return request


def length_of(request: bytes) -> int:
    found = re.search(rb"(?i)content-length: (\d+)", request)
    return int(found[1]) if found else 0


@contextmanager
def server(serve: Serve, read: Callable[[socket.socket], bytes] = request_on) -> Iterator[tuple[str, list[bytes]]]:
    """Run ``serve`` after the first request of every connection; yield the URL and those requests."""
    seen: list[bytes] = []
    threads: list[threading.Thread] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0.05)
        done = threading.Event()

        def handle(connection: socket.socket) -> None:
            with connection:
                connection.settimeout(10)
                try:
                    seen.append(read(connection))
                    serve(connection)
                except OSError:
                    pass

        def accept() -> None:
            while not done.is_set():
                try:
                    connection, _ = listening.accept()
                except TimeoutError:
                    continue
                threads.append(threading.Thread(target=handle, args=(connection,)))
                threads[-1].start()

        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/hook?a=1", seen
        finally:
            done.set()
            for thread in (accepting, *threads):
                thread.join()


@contextmanager
def sending(
    timeout_s: float = 5.0, proxy: str | None = None, trusted: tuple[str, int] | None = None
) -> Iterator[Sender]:
    sender = Sender(EgressGuard(AllowList.of(["127.0.0.1"]), trusted=trusted), timeout_s, proxy)
    try:
        yield sender
    finally:
        sender.close()


def answer_once(response: bytes) -> Serve:
    return lambda connection: connection.sendall(response)


def keep_alive(connection: socket.socket) -> None:
    connection.sendall(OK)
    while request_on(connection):
        connection.sendall(OK)


def test_a_request_has_path_query_host_length_and_body() -> None:
    with server(keep_alive) as (url, seen), sending() as sender:
        answer = sender.post(url, {"webhook-id": "m"}, b'{"a":1}')
    assert (answer.status, answer.reason, answer.delivered) == (200, "200", True)
    head, _, body = seen[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /hook?a=1 HTTP/1.1\r\n")
    assert f"Host: {url.split('/')[2]}".encode() in head
    assert b"Content-Length: 7" in head
    assert body == b'{"a":1}'


def test_connections_are_kept_alive() -> None:
    with server(keep_alive) as (url, seen), sending() as sender:
        assert all(sender.post(url, {}, b"{}").delivered for _ in range(5))
        assert len(seen) == 1


def test_a_long_response_is_not_read_to_its_end() -> None:
    sent = 0

    def endless(connection: socket.socket) -> None:
        nonlocal sent
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        while True:
            sent += connection.send(b"x" * 65_536)

    with server(endless) as (url, _), sending() as sender:
        assert sender.post(url, {}, b"{}").status == 200
    assert MAX_RESPONSE_BYTES < sent < 100_000_000


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\nX: "], ids=["nothing", "endless header"])
def test_a_response_a_byte_at_a_time_ends_with_the_deadline(head: bytes) -> None:
    def drip(connection: socket.socket) -> None:
        connection.sendall(head)
        while True:
            connection.sendall(b"x")
            time.sleep(0.05)

    def silent(connection: socket.socket) -> None:
        connection.recv(1)
        connection.recv(1)

    with server(drip if head else silent) as (url, _), sending(timeout_s=0.5) as sender:
        answer = sender.post(url, {}, b"{}")
    assert (answer.status, answer.reason) == (None, "no answer in time")
    assert answer.seconds < 5


def test_a_status_that_was_said_counts_though_the_body_never_ends() -> None:
    def stall(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx")
        connection.recv(1)
        connection.recv(1)

    with server(stall) as (url, _), sending(timeout_s=0.5) as sender:
        assert sender.post(url, {}, b"{}").status == 200


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        (b"", "no HTTP response"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "no HTTP response"),
        (b"HTTP/1.1 500 Oops\r\nContent-Length: 6\r\n\r\nsecret", "500"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:6379/\r\nContent-Length: 0\r\n\r\n", "302"),
    ],
)
def test_what_is_said_of_a_failure_is_never_the_receivers_words(response: bytes, reason: str) -> None:
    with server(answer_once(response)) as (url, _), sending() as sender:
        answer = sender.post(url, {}, b"{}")
    assert (answer.reason, answer.delivered) == (reason, False)


def test_retry_after_is_read() -> None:
    response = b"HTTP/1.1 429 Slow\r\nretry-after: 17\r\nContent-Length: 0\r\n\r\n"
    with server(answer_once(response)) as (url, _), sending() as sender:
        assert sender.post(url, {}, b"{}").retry_after_s == 17


def test_a_closed_port_and_an_unknown_name_are_told_apart() -> None:
    with server(keep_alive) as (url, _):
        pass
    with sending() as sender:
        assert sender.post(url, {}, b"{}").reason == "connection refused"
    guard = EgressGuard(AllowList(), lambda host, port: (_ for _ in ()).throw(OSError()))
    sender = Sender(guard, ssl_context=TLS)
    assert sender.post("https://gone.example/", {}, b"{}").reason == "the name does not resolve"
    sender.close()


def test_a_receiver_without_tls_is_told() -> None:
    plain = answer_once(b"HTTP/1.1 400 Bad\r\n\r\n")
    with server(plain, read=lambda connection: connection.recv(65_536)) as (url, _), sending() as sender:
        assert sender.post(url.replace("http:", "https:"), {}, b"{}").reason == "no TLS connection"


def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with server(keep_alive) as (proxy, asked), server(keep_alive) as (url, seen):
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy)
        monkeypatch.setenv("no_proxy", "")
        with sending() as sender:
            assert sender.post(url, {}, b"{}").delivered
    assert (len(seen), asked) == (1, [])


def test_a_chosen_proxy_gets_the_request() -> None:
    with server(keep_alive) as (proxy, asked), server(keep_alive) as (url, seen):
        host, port = proxy.split("/")[2].split(":")
        with sending(proxy=f"http://user:pass@{host}:{port}", trusted=(host, int(port))) as sender:
            assert sender.post(url, {}, b"{}").delivered
    assert seen == []
    assert asked[0].startswith(f"POST {url} HTTP/1.1".encode())
    assert b"Proxy-Authorization: Basic" in asked[0]


@pytest.mark.parametrize("proxy", ["socks5://h:1", "h:3128", "http://"])
def test_an_unusable_proxy_setting_is_refused_unquoted(proxy: str) -> None:
    with pytest.raises(SettingsError, match="FIREWALL_WEBHOOK_PROXY"):
        sender_of(load_settings(webhook_proxy=proxy))


def test_settings_make_a_sender() -> None:
    sender = sender_of(load_settings(webhook_allow=["127.0.0.1"], webhook_proxy="http://proxy.internal:3128"))
    sender.guard.check_url("http://127.0.0.1:1/")
    sender.close()
