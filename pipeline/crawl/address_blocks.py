"""List the blocks of IP addresses at which the web has no servers: a table, as of `REGISTRY_DATE`.

Python's `is_global` says something similar, but another thing in each release: 3.11.7 counts 192.0.0.64 as global.
"""

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

REGISTRY_DATE = "2025-10-09"
"""The last change of the two IANA Special-Purpose Address Registries (IPv4 and IPv6, RFC 6890) in the table."""

REACHABLE = "globally reachable: "
"""Starts the purpose of the blocks for which the registry says so; they are refused where a wider block is."""

GLOBAL_UNICAST = IPv6Network("2000::/3")
"""All IPv6 addresses that IANA has given to networks so far. NAT64 (64:ff9b::/96) and mapped addresses (::ffff:0:0/96),
which contain any IPv4 address, lie outside it."""

IPV4_BLOCKS: Mapping[IPv4Network, str] = {
    IPv4Network(block): purpose
    for block, purpose in {
        "0.0.0.0/8": "this network (RFC 791)",
        "0.0.0.0/32": "this host on this network (RFC 1122)",
        "10.0.0.0/8": "private use (RFC 1918)",
        "100.64.0.0/10": "shared address space of providers (RFC 6598)",
        "127.0.0.0/8": "loopback (RFC 1122)",
        "169.254.0.0/16": "link-local (RFC 3927)",
        "172.16.0.0/12": "private use (RFC 1918)",
        "192.0.0.0/24": "IETF protocol assignments (RFC 6890)",
        "192.0.0.0/29": "IPv4 service continuity prefix (RFC 7335)",
        "192.0.0.8/32": "IPv4 dummy address (RFC 7600)",
        "192.0.0.9/32": f"{REACHABLE}port control protocol anycast (RFC 7723)",
        "192.0.0.10/32": f"{REACHABLE}TURN anycast (RFC 8155)",
        "192.0.0.170/32": "NAT64/DNS64 discovery (RFC 8880)",
        "192.0.0.171/32": "NAT64/DNS64 discovery (RFC 8880)",
        "192.0.2.0/24": "documentation (RFC 5737)",
        "192.31.196.0/24": f"{REACHABLE}AS112 (RFC 7535)",
        "192.52.193.0/24": f"{REACHABLE}AMT (RFC 7450)",
        "192.88.99.0/24": "6to4 relay anycast, deprecated (RFC 7526)",
        "192.88.99.2/32": "6a44 relay anycast (RFC 6751)",
        "192.168.0.0/16": "private use (RFC 1918)",
        "192.175.48.0/24": f"{REACHABLE}AS112, direct delegation (RFC 7534)",
        "198.18.0.0/15": "benchmarking (RFC 2544)",
        "198.51.100.0/24": "documentation (RFC 5737)",
        "203.0.113.0/24": "documentation (RFC 5737)",
        "240.0.0.0/4": "reserved (RFC 1112)",
        "255.255.255.255/32": "limited broadcast (RFC 919)",
        # Not in that registry:
        "224.0.0.0/4": "multicast (RFC 5771)",
    }.items()
}

IPV6_BLOCKS: Mapping[IPv6Network, str] = {
    IPv6Network(block): purpose
    for block, purpose in {
        "::1/128": "loopback (RFC 4291)",
        "::/128": "unspecified (RFC 4291)",
        "::ffff:0:0/96": "IPv4-mapped (RFC 4291)",
        "64:ff9b::/96": "NAT64 (RFC 6052)",
        "64:ff9b:1::/48": "NAT64, local use (RFC 8215)",
        "100::/64": "discard-only (RFC 6666)",
        "100:0:0:1::/64": "dummy prefix (RFC 9780)",
        "2001::/23": "IETF protocol assignments (RFC 2928)",
        "2001::/32": "Teredo (RFC 4380)",
        "2001:1::1/128": f"{REACHABLE}port control protocol anycast (RFC 7723)",
        "2001:1::2/128": f"{REACHABLE}TURN anycast (RFC 8155)",
        "2001:1::3/128": f"{REACHABLE}DNS-SD registration anycast (RFC 9665)",
        "2001:2::/48": "benchmarking (RFC 5180)",
        "2001:3::/32": f"{REACHABLE}AMT (RFC 7450)",
        "2001:4:112::/48": f"{REACHABLE}AS112 (RFC 7535)",
        "2001:10::/28": "ORCHID, deprecated (RFC 4843)",
        "2001:20::/28": f"{REACHABLE}ORCHIDv2 (RFC 7343)",
        "2001:30::/28": f"{REACHABLE}drone remote identification (RFC 9374)",
        "2001:db8::/32": "documentation (RFC 3849)",
        "2002::/16": "6to4 (RFC 3056)",
        "2620:4f:8000::/48": f"{REACHABLE}AS112, direct delegation (RFC 7534)",
        "3fff::/20": "documentation (RFC 9637)",
        "5f00::/16": "segment routing (RFC 9602)",
        "fc00::/7": "unique local (RFC 4193)",
        "fe80::/10": "link-local (RFC 4291)",
        # Not in that registry:
        "::/96": "IPv4-compatible, deprecated (RFC 4291)",
        "fec0::/10": "site-local, deprecated (RFC 3879)",
        "ff00::/8": "multicast (RFC 4291)",
    }.items()
}

METADATA: Mapping[IPv4Address | IPv6Address, str] = {
    IPv4Address("169.254.169.254"): "AWS, Google Cloud, Azure, DigitalOcean, Hetzner and others",
    IPv4Address("169.254.170.2"): "credentials of AWS's containers",
    IPv4Address("169.254.169.123"): "AWS's clock",
    IPv4Address("169.254.0.23"): "Tencent Cloud",
    IPv4Address("168.63.129.16"): "Azure's host; in a block that is public otherwise",
    IPv4Address("100.100.100.200"): "Alibaba Cloud",
    IPv4Address("192.0.0.192"): "Oracle Cloud, classic",
    IPv6Address("fd00:ec2::254"): "AWS",
    IPv6Address("fd00:ec2::23"): "credentials of AWS's containers",
    IPv6Address("fd20:ce::254"): "Google Cloud",
    IPv6Address("fd00:42::42"): "Scaleway",
    IPv6Address("fe80::a9fe:a9fe"): "OpenStack",
}
"""Addresses at which a cloud tells its machines their secrets, by the documentation of each cloud."""
