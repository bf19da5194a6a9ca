"""Every way known to us of leading a webhook to an inner address, and that nothing is dialled then."""

import ssl

import pytest

from tests.unit.worker.webhooks.egress_fakes import Dialler, guarded
from worker.errors import EgressRefused, SettingsError
from worker.webhooks.addresses import AllowList
from worker.webhooks.egress import EgressGuard
from worker.webhooks.sender import Answer, Sender

TLS = ssl.create_default_context()
PUBLIC = "93.184.216.34"
METADATA = "169.254.169.254"
NAMES = {
    "good.example": [[PUBLIC]],
    "six.example": [["2606:2800:220:1:248:1893:25c8:1946"]],
    "inner.example": [["10.0.0.8"]],
    "x.inner.example": [["10.0.0.8"]],
    "mixed.example": [[PUBLIC, "127.0.0.1"]],
    "metadata.example": [[METADATA]],
    "127.0.0.1.nip.example": [["127.0.0.1"]],
    # What a C library's resolver answers to other ways of writing 127.0.0.1.
    **{odd: [["127.0.0.1"]] for odd in ("2130706433", "0x7f000001", "0177.0.0.1", "127.1", "0x7f.1", "017700000001")},
    **{
        local: [["127.0.0.1"]]
        for local in ("localhost", "localhost.", "LOCALHOST", "a.localhost", "localhost.localdomain")
    },
}


def post(url: str, *allow: str, names=NAMES, response: bytes | None = None) -> tuple[Answer, Dialler]:
    guard, _, dialler = guarded(names, *allow, **({"response": response} if response else {}))
    sender = Sender(guard, ssl_context=TLS)
    answer = sender.post(url, {}, b"{}")
    sender.close()
    return answer, dialler


INNER = [
    *("127.0.0.1", "127.8.8.8", "0.0.0.0", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1"),
    *("100.100.100.200", METADATA, "168.63.129.16", "192.0.0.192", "192.0.2.1", "198.18.0.1", "198.51.100.7"),
    *("203.0.113.9", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255", "192.88.99.1"),
    *("[::1]", "[::]", "[fe80::1]", "[fc00::1]", "[fd00:ec2::254]", "[ff02::1]", "[fec0::1]", "[2001:db8::1]"),
    *("[::ffff:127.0.0.1]", "[::ffff:a9fe:a9fe]", "[::127.0.0.1]", "[64:ff9b::127.0.0.1]", "[64:ff9b::a9fe:a9fe]"),
    *("[64:ff9b:1::7f00:1]", "[2002:7f00:1::]", "[2002:a9fe:a9fe::1]", "[2001:0:4136:e378:8000:63bf:3fff:fdd2]"),
    *("[0:0:0:0:0:ffff:7f00:1]", "[3fff::1]", "[2001:2::1]"),
]


@pytest.mark.parametrize("host", INNER)
@pytest.mark.parametrize("scheme", ["https", "http"])
def test_inner_addresses_are_not_dialled(scheme: str, host: str) -> None:
    answer, dialler = post(f"{scheme}://{host}/hook")
    assert answer.reason.startswith("refused: ")
    assert dialler.called == []


@pytest.mark.parametrize("host", INNER)
def test_names_that_lead_to_inner_addresses_are_not_dialled(host: str) -> None:
    answer, dialler = post("https://bad.example/hook", names={"bad.example": [[host.strip("[]")]]})
    assert answer.reason == "refused: the host leads to an address that is not public"
    assert dialler.called == []


TRICKS = {
    "decimal": "https://2130706433/",
    "hexadecimal": "https://0x7f000001/",
    "octal": "https://0177.0.0.1/",
    "octal whole": "https://017700000001/",
    "short": "https://127.1/",
    "mixed notation": "https://0x7f.1/",
    "localhost": "https://localhost/",
    "localhost with a dot": "https://localhost./",
    "localhost in capitals": "https://LOCALHOST/",
    "under localhost": "https://a.localhost/",
    "localhost.localdomain": "https://localhost.localdomain/",
    "address in a name": "https://127.0.0.1.nip.example/",
    "address with a dot": "https://127.0.0.1./",
    "zone": "https://[fe80::1%25eth0]/",
    "zone unescaped": "https://[fe80::1%eth0]/",
    "zone of a public address": "https://[2606:2800:220:1:248:1893:25c8:1946%25lo]/",
    "user": f"https://good.example@{METADATA}/",
    "user and password": "https://good.example:443@127.0.0.1/",
    "public host after a user": "https://127.0.0.1@good.example/",
    "backslash": f"https://{METADATA}\\@good.example/",
    "backslash before": f"https://good.example\\@{METADATA}/",
    "fragment": f"https://good.example#@{METADATA}/",
    "escaped host": "https://%31%32%37.0.0.1/",
    "full-width digits": "https://１２７.0.0.1/",
    "circled digits": "https://①②⑦.⓪.⓪.①/",
    "ideographic dot": "https://127。0。0。1/",
    "tab": "https://127.0.\t0.1/",
    "line break": "https://good.example\r\nHost: 127.0.0.1/",
    "space": "https://127.0.0.1 .good.example/",
    "no host": "https:///hook",
    "empty port": "https://good.example:/",
    "port 0": "https://good.example:0/",
    "two ports": "https://good.example:443:80/",
    "two hosts": "https://127.0.0.1,good.example/",
    "open bracket": "https://[::1/",
    "http": "http://good.example/",
    "other scheme": "gopher://good.example/",
    "file": "file:///etc/passwd",
    "no scheme": "good.example/hook",
    "inner name": "https://inner.example/",
    "one bad address among good ones": "https://mixed.example/",
    "metadata by name": "https://metadata.example/",
}


@pytest.mark.parametrize("url", TRICKS.values(), ids=TRICKS)
def test_tricks_are_refused_before_anything_is_dialled(url: str) -> None:
    answer, dialler = post(url)
    assert answer.reason.startswith("refused: ")
    assert answer.status is None
    assert dialler.called == []


@pytest.mark.parametrize("text", ["fe80::1%eth0", "2606:2800:220:1:248:1893:25c8:1946%lo", "::1%lo"])
def test_an_address_with_a_zone_from_dns_is_refused(text: str) -> None:
    answer, dialler = post("https://zoned.example/", names={"zoned.example": [[text]]})
    assert answer.reason == "refused: the host leads to an address with a zone"
    assert dialler.called == []


@pytest.mark.parametrize("host", ["good.example", "GOOD.example", "good.example.", "six.example", PUBLIC])
def test_public_hosts_are_dialled_at_the_checked_address(host: str) -> None:
    guard, dns, dialler = guarded(NAMES)
    target = guard.check_url(f"https://{host}/hook?x=1")
    guard.connect_tcp(target.host, 443)
    (called,) = dialler.called
    assert called in ((PUBLIC, 443), ("2606:2800:220:1:248:1893:25c8:1946", 443))
    assert dns.asked in ([], [host.lower().rstrip(".")])


def test_rebinding_finds_no_second_look() -> None:
    """The name is resolved once a connection, and the answer that was checked is the one that is dialled."""
    guard, dns, dialler = guarded({"rebind.example": [[PUBLIC], ["127.0.0.1"]]}, "rebind.invalid")
    guard.connect_tcp("rebind.example", 443)
    assert dns.asked == ["rebind.example"]
    assert dialler.called == [(PUBLIC, 443)]
    with pytest.raises(EgressRefused):
        guard.connect_tcp("rebind.example", 443)
    assert dialler.called == [(PUBLIC, 443)]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_to_the_metadata_service_is_a_failure_and_not_followed(status: int) -> None:
    response = f"HTTP/1.1 {status} Moved\r\nLocation: http://{METADATA}/latest\r\nContent-Length: 0\r\n\r\n".encode()
    answer, dialler = post("http://127.0.0.1:8080/", "127.0.0.1", response=response)
    assert dialler.called == [("127.0.0.1", 8080)]
    assert (answer.status, answer.delivered) == (status, False)


def test_the_next_address_is_tried_when_one_is_dead() -> None:
    guard, _, dialler = guarded({"two.example": [[PUBLIC, "93.184.216.35"]]}, dead=[PUBLIC])
    guard.connect_tcp("two.example", 443)
    assert dialler.called == [(PUBLIC, 443), ("93.184.216.35", 443)]


def test_unix_sockets_are_refused() -> None:
    guard, _, _ = guarded()
    with pytest.raises(EgressRefused):
        guard.connect_unix_socket("/run/redis.sock")


@pytest.mark.parametrize(
    ("allow", "url", "dialled"),
    [
        ("inner.example", "https://inner.example/", True),
        ("INNER.example.", "http://inner.example/", True),
        ("10.0.0.0/8", "https://inner.example/", True),
        ("10.0.0.0/8", "http://10.0.0.8/", True),
        ("10.0.0.9", "https://inner.example/", False),
        ("10.0.0.0/8", "http://inner.example/", False),
        ("inner.example", "https://10.0.0.8/", False),
        ("inner.example", "https://x.inner.example/", False),
        ("metadata.example", "https://metadata.example/", False),
        ("169.254.169.254", "http://169.254.169.254/", True),
        ("localhost", "http://localhost:9000/", True),
        ("::1", "http://[::1]:9000/", True),
    ],
)
def test_allow_list_opens_what_it_names_and_no_more(allow: str, url: str, dialled: bool) -> None:
    guard, _, dialler = guarded(NAMES, allow)
    try:
        target = guard.check_url(url)
        guard.connect_tcp(target.host, target.port or 443)
    except EgressRefused:
        assert not dialled
    assert bool(dialler.called) is dialled


def test_an_allowed_name_does_not_open_mapped_metadata_addresses() -> None:
    answer, dialler = post("https://in.example/", "in.example", names={"in.example": [["::ffff:169.254.169.254"]]})
    assert answer.reason.startswith("refused")
    assert dialler.called == []


@pytest.mark.parametrize("entry", ["http://a", "10.0.0.1/8", "a b", "", "*.example", "1.2.3", "host:80"])
def test_wrong_allow_list_entries_are_named(entry: str) -> None:
    with pytest.raises(SettingsError, match="FIREWALL_WEBHOOK_ALLOW"):
        AllowList.of([entry])


def test_a_trusted_proxy_is_dialled_unchecked_and_nothing_else() -> None:
    dialler = Dialler()
    guard = EgressGuard(AllowList(), lambda host, port: ["127.0.0.1"], dialler, trusted=("proxy.internal", 3128))
    guard.connect_tcp("proxy.internal", 3128)
    with pytest.raises(EgressRefused):
        guard.connect_tcp("proxy.internal", 6379)
    assert dialler.called == [("proxy.internal", 3128)]
