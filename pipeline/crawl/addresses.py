"""Decide which IP addresses may be connected to without being listed in `crawl.hosts`: public unicast ones."""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

IpAddress = IPv4Address | IPv6Address

_GLOBAL_UNICAST = IPv6Network("2000::/3")
"""NAT64 (64:ff9b::/96) and mapped addresses (::ffff:0:0/96), which may contain any IPv4 address, lie outside it."""

_NO_HOSTS = (
    IPv4Network("192.88.99.0/24"),  # relays of 6to4
    IPv6Network("2001::/23"),  # IETF protocols; 2001::/32 among them is Teredo, which wraps any IPv4 address
    IPv6Network("2001:db8::/32"),  # documentation
    IPv6Network("2002::/16"),  # 6to4, which wraps any IPv4 address
    IPv6Network("3fff::/20"),  # documentation
)
"""Networks that Python counts as global but that have no public hosts. Source: the IANA Special-Purpose Address
Registries."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address and port that a socket connects to."""

    address: IpAddress
    port: int


def is_public(address: IpAddress) -> bool:
    """Return whether an address is a host of the public internet, and does not wrap an address that may not be one."""
    if isinstance(address, IPv6Address) and address not in _GLOBAL_UNICAST:
        return False
    if not address.is_global or address.is_multicast or address.is_reserved:
        return False
    return not any(address.version == network.version and address in network for network in _NO_HOSTS)


def parse_endpoint(text: str) -> Endpoint:
    """Parse `127.0.0.1:8000` or `[::1]:8000`.

    Raises:
        ValueError: it is neither; the message says what is allowed.
    """
    address, _, port = text.rpartition(":")
    try:
        endpoint = Endpoint(ip_address(address.strip("[]")), int(port))
    except ValueError:
        endpoint = None
    if endpoint is None or not 0 < endpoint.port < 65536:
        raise ValueError("an IP address with a port between 1 and 65535, such as 127.0.0.1:8000")
    return endpoint
