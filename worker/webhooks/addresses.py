"""Which addresses deliveries may go to. Pure: nothing is resolved here.

Python's ``is_global`` changes between versions and calls some tunnels global, so that the networks are written
out: IANA's special-purpose registries for IPv4 and IPv6, and metadata services at public addresses.
"""

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass

from worker.errors import SettingsError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

REFUSED_V4 = tuple(
    ipaddress.IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carrier-grade NAT; the metadata service of Alibaba Cloud
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # Azure's platform service, on a public address
        "169.254.0.0/16",  # link-local; metadata services
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments; the metadata service of Oracle Cloud
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # AMT
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
)
GLOBAL_V6 = ipaddress.IPv6Network("2000::/3")
"""Global unicast. Outside lie loopback, IPv4 mapped, compatible and translated (NAT64), unique local, link-local,
site-local and multicast addresses."""

REFUSED_V6 = tuple(
    ipaddress.IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments: Teredo and other IPv4 in IPv6, ORCHID, benchmarks
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4: IPv4 in IPv6
        "2620:4f:8000::/48",  # AS112
        "3fff::/20",  # documentation
    )
)
NEVER_BY_NAME = tuple(
    ipaddress.ip_network(network)
    for network in (
        *("0.0.0.0/8", "169.254.0.0/16", "168.63.129.16/32", "192.0.0.192/32", "100.100.100.200/32", "224.0.0.0/4"),
        *("240.0.0.0/4", "::/128", "fe80::/10", "fd00:ec2::/32", "fd20:ce::/32", "ff00::/8"),
        *("::ffff:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32"),
    )
)
"""Unspecified, link-local, metadata and multicast addresses, and forms that could hide one of them: a host on the
allow-list does not open these, a network does."""

_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(\.(?!-)[a-z0-9_-]{1,63}(?<!-))*")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


@dataclass(frozen=True)
class AllowList:
    """What the operator opened: hosts by exact name, and networks."""

    hosts: frozenset[str] = frozenset()
    networks: tuple[Network, ...] = ()

    @classmethod
    def of(cls, entries: Sequence[str]) -> "AllowList":
        """Read ``FIREWALL_WEBHOOK_ALLOW``: host names, addresses, and networks as CIDR.

        Raises:
            SettingsError: An entry is none of these.
        """
        hosts, networks = set(), []
        for entry in entries:
            text = entry.strip().lower().removesuffix(".")
            try:
                networks.append(ipaddress.ip_network(text.strip("[]")))
            except ValueError:
                if not is_name(text):
                    raise SettingsError(
                        f"FIREWALL_WEBHOOK_ALLOW: {entry!r} is no host name, address or CIDR network "
                        "(a network's host bits must be 0; no scheme, no port)"
                    ) from None
                hosts.add(text)
        return cls(frozenset(hosts), tuple(networks))

    def has_host(self, host: str) -> bool:
        """Tell whether a URL's host, a name or an address, was opened itself."""
        literal = literal_address(host)
        return host in self.hosts if literal is None else self.has_address(literal)

    def has_address(self, address: Address) -> bool:
        """Tell whether an address lies in an opened network."""
        return any(address in network for network in self.networks)


def is_name(host: str) -> bool:
    """Tell whether a host is a DNS name in lower case: ASCII labels, the last one not a number.

    The last condition is that of the WHATWG URL standard: ``2130706433``, ``0x7f.1`` and ``0177.0.0.1`` are no
    names but ways to write 127.0.0.1 that resolvers understand.
    """
    return len(host) <= 253 and bool(_NAME.fullmatch(host)) and not _NUMBER.fullmatch(host.rpartition(".")[2])


def literal_address(host: str) -> Address | None:
    """Return the address a host spells in its canonical form, without brackets; None for a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def refusal(address: Address, host: str, allowed: AllowList) -> str | None:
    """Return why deliveries to ``host`` must not go to ``address``, or None if they may."""
    if isinstance(address, ipaddress.IPv6Address) and address.scope_id:
        return "an address with a zone"
    if allowed.has_address(address):
        return None
    if host in allowed.hosts and not any(address in network for network in NEVER_BY_NAME):
        return None
    return None if _is_public(address) else "an address that is not public"


def _is_public(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in REFUSED_V4)
    return address in GLOBAL_V6 and not any(address in network for network in REFUSED_V6)
