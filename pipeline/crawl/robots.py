"""Interpret a site's robots.txt by RFC 9309. Pure."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from protego import Protego

MAX_ROBOTS_BYTES = 500 * 1024
"""Read of a robots.txt; the rest is ignored (RFC 9309, section 2.5)."""

MAX_CRAWL_DELAY = 60.0
"""Seconds. A site that asks for longer pauses is not crawled: the crawl would not end."""


@dataclass(frozen=True)
class Robots:
    """The rules of one site for one agent."""

    rules: "Protego | None" = None
    forbidden: str = ""
    """Why nothing at all may be fetched, if so."""

    def judge(self, url: str, agent: str) -> str | None:
        """Return why the agent with that product token may not fetch the canonical URL, or None."""
        if self.forbidden:
            return self.forbidden
        if self.rules is not None and not self.rules.can_fetch(url, agent):
            return "robots.txt forbids it"
        if self.read_delay(agent) > MAX_CRAWL_DELAY:
            return f"robots.txt asks for more than {MAX_CRAWL_DELAY:.0f} seconds between requests"
        return None

    def list_sitemaps(self) -> tuple[str, ...]:
        """Return the sitemaps that it names, as it spells them."""
        return tuple(self.rules.sitemaps) if self.rules is not None else ()

    def read_delay(self, agent: str) -> float:
        """Return the seconds that the site asks to leave between two requests."""
        delay = self.rules.crawl_delay(agent) if self.rules is not None else None
        return delay if delay is not None and delay >= 0 else 0.0  # also for nan: sites write anything


def read_robots(status: int | None, content: bytes) -> Robots:
    """Return the rules in a site's final response for /robots.txt; `status` None: there was no response.

    200: the rules in it, where lines that cannot be parsed count as none. Other 2xx, endless redirects and 4xx: no
    rules. 5xx and no response: everything is forbidden (RFC 9309, section 2.3.1), and also after a 429, which means
    "later".
    """
    if status is None or status >= 500 or status == 429:
        return Robots(forbidden="robots.txt cannot be reached, so nothing may be fetched")
    if status != 200:
        return Robots()
    from protego import Protego

    text = content[:MAX_ROBOTS_BYTES].decode("utf-8-sig", "replace")
    return Robots(Protego.parse(text))
