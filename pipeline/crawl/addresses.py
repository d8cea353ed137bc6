"""Which addresses may be connected to: public unicast ones, and those that `crawl.hosts` lists."""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

IpAddress = IPv4Address | IPv6Address

_GLOBAL_UNICAST = IPv6Network("2000::/3")
"""NAT64 (64:ff9b::/96) and mapped addresses (::ffff:0:0/96), which stand for any IPv4 address, lie outside it."""

_NO_HOSTS = (
    IPv4Network("192.88.99.0/24"),  # relays of 6to4
    IPv6Network("2001::/23"),  # IETF protocols; 2001::/32 among them is Teredo, which wraps any IPv4 address
    IPv6Network("2001:db8::/32"),  # documentation
    IPv6Network("2002::/16"),  # 6to4, which wraps any IPv4 address
    IPv6Network("3fff::/20"),  # documentation
)
"""What Python counts as global and is no public host. Source: the IANA Special-Purpose Address Registries."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What a socket connects to."""

    address: IpAddress
    port: int


def is_public(address: IpAddress) -> bool:
    """Whether an address is a host of the public internet, and no wrapper around an address that might not be one."""
    if isinstance(address, IPv6Address) and address not in _GLOBAL_UNICAST:
        return False
    if not address.is_global or address.is_multicast or address.is_reserved:
        return False
    return not any(address.version == network.version and address in network for network in _NO_HOSTS)


def parse_endpoint(text: str) -> Endpoint:
    """`127.0.0.1:8000` or `[::1]:8000`.

    Raises:
        ValueError: it is neither.
    """
    address, _, port = text.rpartition(":")
    if not 0 < int(port) < 65536:
        raise ValueError("the port is not between 1 and 65535")
    return Endpoint(ip_address(address.strip("[]")), int(port))
