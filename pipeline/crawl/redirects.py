"""Follow the target of a redirect, if it may be. Pure."""

from pipeline.formats.urls import BadUrl, canonicalize_url
from pipeline.tables.drops import Reason, Rejection

MAX_REDIRECTS = 5
"""What RFC 9309 asks for robots.txt; used for all URLs."""


def follow_redirect(location: str, url: str, passed: list[str]) -> str | Rejection:
    """Return the canonical URL that a redirect from `url` leads to, or why it is not followed."""
    try:
        target = canonicalize_url(location, url)
    except BadUrl as bad:
        return Rejection(Reason.REDIRECT_REFUSED, f"the target of the redirect is refused: {bad}")
    if target in passed:
        return Rejection(Reason.REDIRECT_REFUSED, "the redirects form a loop")
    return target
