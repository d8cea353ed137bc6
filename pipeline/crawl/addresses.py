"""Decide which IP addresses may be connected to without being listed in `crawl.hosts`: public unicast ones."""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from pipeline.crawl.address_blocks import GLOBAL_UNICAST, IPV4_BLOCKS, IPV6_BLOCKS, METADATA, REACHABLE

IpAddress = IPv4Address | IPv6Address

WEB_PORTS = (80, 443)
"""The ports of hosts that are not listed. Behind others are databases and consoles; some obey an HTTP request."""

_REFUSED_IPV4 = [block for block, purpose in IPV4_BLOCKS.items() if not purpose.startswith(REACHABLE)]
_REFUSED_IPV6 = [block for block, purpose in IPV6_BLOCKS.items() if not purpose.startswith(REACHABLE)]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address and port that a socket connects to."""

    address: IpAddress
    port: int


def is_public(address: IpAddress) -> bool:
    """Return whether an address may be a server of the public web.

    An address that wraps an IPv4 address (mapped, NAT64, 6to4, Teredo) is never one, whatever it wraps: no public host
    needs to be reached that way, and where the translator sends it cannot be seen from here.
    """
    if address in METADATA:
        return False
    if isinstance(address, IPv4Address):
        return not any(address in block for block in _REFUSED_IPV4)
    return address in GLOBAL_UNICAST and not any(address in block for block in _REFUSED_IPV6)


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
