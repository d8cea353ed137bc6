"""Divide hosts by their hash among crawling processes, so that each host has one that keeps its limits. Pure."""

import hashlib
import math
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

from pipeline.formats.urls import CACHED, find_host

_FILE_NAME = re.compile(r".*\.(?P<index>[0-9]+)of(?P<count>[0-9]+)\.[a-z]+")


@dataclass(frozen=True, slots=True)
class Partition:
    """The hosts whose hash is `index` modulo `count`."""

    index: int = 0
    count: int = 1

    def has(self, url: str) -> bool:
        """Return whether the host of a canonical URL is among them."""
        return self.count == 1 or hash_host(url) % self.count == self.index

    def overlaps(self, other: Self) -> bool:
        """Return whether a host may be in both: hashes that agree modulo the greatest common divisor of the counts."""
        return (self.index - other.index) % math.gcd(self.count, other.count) == 0

    def name_file(self, stem: str, ending: str) -> str:
        """Return a file's name that says which hosts it is about; nothing is said of all."""
        return f"{stem}.{ending}" if self.count == 1 else f"{stem}.{self.index}of{self.count}.{ending}"


ALL_HOSTS = Partition()


def parse_file_name(name: str) -> Partition:
    """Return the hosts that a file of that name is about, see `Partition.name_file`."""
    found = _FILE_NAME.fullmatch(name)
    return Partition(int(found["index"]), int(found["count"])) if found else ALL_HOSTS


@lru_cache(CACHED)
def hash_host(url: str) -> int:
    """Return the first 8 bytes of the sha256 of a canonical URL's host as a number. Ports don't count, nor does a
    leading `www.`: many sites redirect from one to the other, and such a redirect then stays in one process."""
    host, _ = find_host(url)
    return int.from_bytes(hashlib.sha256(host.removeprefix("www.").encode()).digest()[:8], "big")
