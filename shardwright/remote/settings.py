"""Set how datasets at a URL are fetched; split, join and redact URLs."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

URL = re.compile(r"([a-z][a-z0-9+.-]*)(::[a-z][a-z0-9+.-]*)*://", re.IGNORECASE)
HTTP = ("http", "https")


@dataclass(frozen=True, kw_only=True)
class Remote:
    """Settings for fetching a dataset at a URL; they do not change the data.

    Attributes:
        options: for fsspec's file system, such as `{"anon": True}` for a public bucket. They are pickled with the
            dataset, and never shown.
        threads: downloads at a time.
        tries: for each file, where the server fails or the connection breaks.
        backoff: seconds before the second try; doubled before each further one, plus or minus a random half.
        stall: seconds after which a try that receives less than 1 KiB a second is aborted.
        deadline: seconds for one file, all tries together, and for waiting for another process that is fetching it.

    Raises:
        ValueError: a number is out of range.
    """

    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    threads: int = 4  # one core hashes 1.6 GB/s, as much as four connections of 3 Gbit/s deliver
    tries: int = 5
    backoff: float = 0.5
    stall: float = 30.0
    deadline: float = 1800.0  # a shard of 256 MB at 1.2 Mbit/s

    def __post_init__(self) -> None:
        for name, least in (("threads", 1), ("tries", 1), ("backoff", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"Remote.{name} is {getattr(self, name)}; it must be at least {least}")
        for name in ("stall", "deadline"):
            if getattr(self, name) <= 0:
                raise ValueError(f"Remote.{name} is {getattr(self, name)}; it must be more than 0 seconds")


def is_url(root: str) -> bool:
    """Return whether this is a URL, or one of fsspec's chains of URLs, and not a local folder."""
    return URL.match(root) is not None


def find_scheme(url: str) -> str:
    """Return the scheme of a URL in lower case, such as "https"; "file" for a path."""
    found = URL.match(url)
    return found[1].lower() if found else "file"


def join_url(url: str, file: str) -> str:
    """Return the URL of a file below another URL; the query of an HTTP URL, such as a signature, stays at the end."""
    base, mark, query = url.partition("?") if find_scheme(url) in HTTP else (url, "", "")
    return f"{base.rstrip('/')}/{file}{mark}{query}"


def hide_secrets(url: str) -> str:
    """Return the URL without user, password, query and fragment, so that it may be shown in messages."""
    scheme, mark, rest = url.partition("://")
    host, slash, path = re.split(r"[?#]", rest, maxsplit=1)[0].partition("/")
    return f"{scheme}{mark}{host.rpartition('@')[2]}{slash}{path}".rstrip("/")
