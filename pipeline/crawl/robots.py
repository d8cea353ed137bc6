"""robots.txt: what a site's answer to it means (RFC 9309). Pure."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from protego import Protego

MAX_ROBOTS_BYTES = 500 * 1024
"""As much is read of a robots.txt; the rest is ignored (RFC 9309, section 2.5)."""

MAX_CRAWL_DELAY = 60.0
"""Seconds. A site that asks for longer pauses is left alone: a crawl of it would not end."""


@dataclass(frozen=True)
class Robots:
    """The rules of one site for one agent."""

    rules: "Protego | None" = None
    forbidden: str = ""
    """Why nothing at all may be fetched, if so."""

    def judge(self, url: str, agent: str) -> str | None:
        """Why the agent with that product token may not fetch the canonical URL, or None."""
        if self.forbidden:
            return self.forbidden
        if self.rules is not None and not self.rules.can_fetch(url, agent):
            return "robots.txt forbids it"
        if self.read_delay(agent) > MAX_CRAWL_DELAY:
            return f"robots.txt asks for more than {MAX_CRAWL_DELAY:.0f} seconds between requests"
        return None

    def read_delay(self, agent: str) -> float:
        """Seconds that the site asks to leave between two requests."""
        delay = self.rules.crawl_delay(agent) if self.rules is not None else None
        return delay if delay is not None and delay >= 0 else 0.0  # nan is not: sites write anything


def read_robots(status: int | None, content: bytes) -> Robots:
    """The rules in a site's final answer for /robots.txt; `status` None: there was no answer.

    200: what it says, garbage being nothing. Other 2xx, 3xx without an end and 4xx: there are no rules. 5xx and no
    answer: everything is forbidden (RFC 9309, section 2.3.1), and so it is after a 429, which says "later".
    """
    if status is None or status >= 500 or status == 429:
        return Robots(forbidden="robots.txt cannot be reached, so nothing may be fetched")
    if status != 200:
        return Robots()
    from protego import Protego

    text = content[:MAX_ROBOTS_BYTES].decode("utf-8-sig", "replace")
    return Robots(Protego.parse(text))
