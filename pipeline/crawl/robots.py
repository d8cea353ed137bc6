"""Interpret a site's robots.txt by RFC 9309. Pure."""

from dataclasses import dataclass, field

from pipeline.consent.robots_file import AgentRules, RobotsFile, RobotsLine, name_line, parse_robots_file
from pipeline.consent.statements import tidy_line
from pipeline.crawl.evidence import ROBOTS_RULE, Evidence

MAX_ROBOTS_BYTES = 500 * 1024
"""Read of a robots.txt; the rest is ignored (RFC 9309, section 2.5)."""

MAX_CRAWL_DELAY = 60.0
"""Seconds. A site that asks for longer pauses is not crawled: the crawl would not end."""


@dataclass(frozen=True)
class Robots:
    """The rules of one site for one agent.

    Attributes:
        file: the parsed file.
        rules: the lines of it that are about the agent.
        url: of the file at the site, before redirects.
        forbidden: why nothing at all may be fetched, if so.
        read: when it was read, in seconds since 1970; 0 where that is not known.
    """

    file: RobotsFile = field(default_factory=RobotsFile)
    rules: AgentRules = field(default_factory=AgentRules)
    url: str = ""
    forbidden: str = ""
    read: int = 0

    def judge(self, url: str) -> tuple[str, Evidence] | None:
        """Return why the canonical URL may not be fetched, with the line that says so; or None."""
        if self.forbidden:
            return self.forbidden, Evidence(ROBOTS_RULE, "", self.url, self.read)
        line = self.rules.find_disallow(url)
        if line is not None:
            return "robots.txt forbids it", self._cite(line)
        if self.read_delay() > MAX_CRAWL_DELAY:
            line = max(self.rules.lines, key=lambda line: line.key == "crawl-delay")
            return f"robots.txt asks for more than {MAX_CRAWL_DELAY:.0f} seconds between requests", self._cite(line)
        return None

    def _cite(self, line: RobotsLine) -> Evidence:
        return Evidence(ROBOTS_RULE, tidy_line(line.text), name_line(self.url, line), self.read)

    def list_sitemaps(self) -> tuple[str, ...]:
        """Return the sitemaps that it names, as it spells them."""
        return tuple(self.file.list_values("sitemap"))

    def read_delay(self) -> float:
        """Return the seconds that the site asks to leave between two requests."""
        return self.rules.read_delay()


def read_robots(status: int | None, content: bytes, agent: str, url: str = "", read: int = 0) -> Robots:
    """Return the rules for `agent` in a site's final response for /robots.txt; `status` None: there was no response.

    200: the rules in it, where lines that cannot be parsed count as none. Other 2xx, endless redirects and 4xx: no
    rules. 5xx and no response: everything is forbidden (RFC 9309, section 2.3.1), and also after a 429, which means
    "later".
    """
    if status is None or status >= 500 or status == 429:
        reason = "robots.txt cannot be reached, so nothing may be fetched"
        return Robots(url=url, forbidden=reason, read=read)
    if status != 200:
        return Robots(url=url, read=read)
    file = parse_robots_file(content[:MAX_ROBOTS_BYTES])
    return Robots(file, file.select_rules(agent), url, read=read)
