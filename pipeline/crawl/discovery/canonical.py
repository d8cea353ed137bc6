"""Leave out pages that name another URL as their own, at the end of a crawl, when it is known what was kept."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pipeline.tables.drops import Reason, Rejection

if TYPE_CHECKING:
    from pipeline.crawl.breadth_first import VisitedUrl

MAX_CHAIN = 5
"""Pages that name one another, in a chain; longer ones are kept as they are."""


def merge_canonical(tried: "Mapping[str, VisitedUrl]") -> None:
    """Drop pages whose canonical URL was kept, and give what they embed to that one.

    URLs that name each other are all kept, and so are those of URL lists: they were asked for by name.
    """
    merged: dict[str, str] = {}
    for one in tried.values():
        target = _find_target(one, tried) if one.kept and not one.listed else None
        if target is not None:
            merged[one.url] = target
    for url, target in merged.items():
        rejection = Rejection(Reason.DUPLICATE, "the page names another URL as its own", setting="canonical")
        tried[url].rejection, tried[url].kept_as = rejection, target
    for one in tried.values():
        if (page := merged.get(one.page or "")) and page != one.url:  # which may have been found on its other form
            one.page = page
        if one.embedder:
            one.embedder = merged.get(one.embedder, one.embedder)


def _find_target(one: "VisitedUrl", tried: "Mapping[str, VisitedUrl]") -> str | None:
    """Return the last URL that was kept of the chain of canonical URLs that begins with `one`; None: itself."""
    chain = [one.url]
    while (found := tried.get(tried[chain[-1]].canonical or "")) and found.kept:
        if found.url in chain or len(chain) > MAX_CHAIN:
            return None
        chain.append(found.url)
    return chain[-1] if len(chain) > 1 else None
