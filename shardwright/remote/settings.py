"""How a dataset at a URL is fetched, and what may be said of a URL."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

URL = re.compile(r"([a-z][a-z0-9+.-]*)(::[a-z][a-z0-9+.-]*)*://", re.IGNORECASE)
HTTP = ("http", "https")


@dataclass(frozen=True, kw_only=True)
class Remote:
    """Settings for a dataset at a URL; they change how it is fetched and nothing that is read.

    Attributes:
        options: what fsspec is given for this kind of URL, such as `{"anon": True}` for a public bucket. They are
            pickled with the dataset, and never shown.
        threads: downloads at once.
        tries: of each file, where the server is out of order or the connection breaks.
        backoff: seconds before the second try; twice as many before each further one, at random a half more or less.
        stall: seconds after which a try is given up that brings less than 1 KiB a second.
        deadline: seconds for one file, all tries together, and for waiting for another process that fetches it.

    Raises:
        ValueError: a number is out of range.
    """

    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    threads: int = 4  # what one core can hash at 1.6 GB/s keeps up with four connections of 3 Gbit/s
    tries: int = 5
    backoff: float = 0.5
    stall: float = 30.0
    deadline: float = 1800.0  # a shard of 256 MB at 1.2 Mbit/s

    def __post_init__(self) -> None:
        if self.threads < 1 or self.tries < 1 or self.backoff < 0 or self.stall <= 0 or self.deadline <= 0:
            raise ValueError(f"{self}: threads and tries start at 1, stall and deadline above 0")


def is_url(root: str) -> bool:
    """Whether this is a URL, or a chain of them as fsspec has it, and not a folder of this machine."""
    return URL.match(root) is not None


def find_scheme(url: str) -> str:
    """Such as "https", in lower case."""
    found = URL.match(url)
    return found[1].lower() if found else "file"


def join_url(url: str, file: str) -> str:
    """The URL of a file below another; the query of a web address, as signed ones have it, stays at the end."""
    base, mark, query = url.partition("?") if find_scheme(url) in HTTP else (url, "", "")
    return f"{base.rstrip('/')}/{file}{mark}{query}"


def hide_secrets(url: str) -> str:
    """The URL without user, password, query and fragment: what may stand in a message."""
    scheme, mark, rest = url.partition("://")
    host, slash, path = re.split(r"[?#]", rest, maxsplit=1)[0].partition("/")
    return f"{scheme}{mark}{host.rpartition('@')[2]}{slash}{path}".rstrip("/")
