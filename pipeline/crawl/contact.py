"""Check that the owners of the crawled hosts can reach whoever crawls them."""

import re
from collections.abc import Iterable, Iterator

from pipeline.crawl.params import CrawlParams
from pipeline.errors import ParamsError
from pipeline.formats.urls import BadUrl, canonicalize_url, find_host

_PLACEHOLDER = re.compile(r"\bexample\.(org|com|net)\b", re.IGNORECASE)
"""Domains of nobody (RFC 2606, section 3)."""


def has_contact(agent: str) -> bool:
    """Return whether a User-Agent has another contact than the placeholder."""
    return not _PLACEHOLDER.search(agent)


def explain_contact(agent: str) -> str:
    """Return what is wrong with a User-Agent that names no contact."""
    return f"crawl.agent is {agent!r}: its contact is a placeholder, so only the hosts in crawl.hosts are crawled"


def check_contact(params: CrawlParams, listed: Iterable[str]) -> None:
    """Check that `agent` names a contact if a URL to begin with is of a host that is not in `hosts`.

    `listed` are the canonical URLs of the lists.

    Raises:
        ParamsError: it does not; the message says what to write.
    """
    if has_contact(params.agent):
        return
    for url in (*_canonicalize((*params.start, *params.sitemaps)), *listed):
        host, _ = find_host(url)
        if host not in params.hosts:
            raise ParamsError(
                f"params.yaml: {explain_contact(params.agent)}, and {host} is not one of them. Write who crawls, so "
                "that its owner can reach you: crawl.agent: your-crawler/1.0 (+https://your.site/crawler), or a mail "
                "address in place of the URL"
            )


def _canonicalize(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        try:
            yield canonicalize_url(text)
        except BadUrl:  # `robots` in `sitemaps`; others are dropped later, with their own reason
            continue
