"""Parse robots.txt by RFC 9309, with the lines about use that others added to it. Pure; no bytes make it fail.

Rules are `allow` and `disallow`, `content-usage` (draft-ietf-aipref-attach) and `content-signal`: a line `user-agent`
after one of them begins a new group. Other lines do not end the list of a group's agents, as section 2.2.4 asks.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

from pipeline.consent.path_patterns import matches_path, normalize_path, normalize_pattern
from pipeline.consent.signals import SignalName
from pipeline.consent.statements import Statement, tidy_line
from pipeline.consent.usage_lists import read_refused_uses

ALLOW, DISALLOW, AGENT = "allow", "disallow", "user-agent"
PREFERENCES: dict[str, SignalName] = {"content-usage": "content-usage", "content-signal": "content-signal"}
"""The keys of lines about use, each with its signal. Such lines before the first group are about all agents."""

_RULES = (ALLOW, DISALLOW, *PREFERENCES)
_SPELLINGS = {
    "useragent": AGENT,
    "user agent": AGENT,
    "dissallow": DISALLOW,
    "dissalow": DISALLOW,
    "disalow": DISALLOW,
    "diasllow": DISALLOW,
    "disallaw": DISALLOW,
}
"""Misspelled keys that Google's parser of robots.txt takes for what was meant; so does this one."""

_LINES = re.compile(r"\r\n|\r|\n")
_TOKEN = re.compile(r"\*|[A-Za-z_-]+")


@dataclass(frozen=True, slots=True)
class RobotsLine:
    """A line: its number from 1, its key in lower case, its value, and itself."""

    number: int
    key: str
    value: str
    text: str


@dataclass
class _Group:
    agents: set[str] = field(default_factory=set)
    lines: list[RobotsLine] = field(default_factory=list)


@dataclass(frozen=True)
class AgentRules:
    """The lines of a robots.txt that are about one agent."""

    lines: tuple[RobotsLine, ...] = ()

    @cached_property
    def _paths(self) -> list[tuple[str, RobotsLine]]:
        """Return patterns of allow and disallow, the longest first; of two of a length, allow."""
        rules = [(normalize_pattern(line.value), line) for line in self.lines if line.key in (ALLOW, DISALLOW)]
        kept = [(pattern, line) for pattern, line in rules if line.value]  # an empty path matches nothing
        return sorted(kept, key=lambda rule: (-len(rule[0]), rule[1].key))

    @cached_property
    def _preferences(self) -> list[tuple[str, str, RobotsLine]]:
        """Return pattern, list of preferences and line of each line about use, the longest pattern first."""
        split = [(*_split_preference(line.value), line) for line in self.lines if line.key in PREFERENCES]
        return sorted(split, key=lambda rule: -len(rule[0]))

    def find_disallow(self, url: str) -> RobotsLine | None:
        """Return the line that forbids to fetch a URL, or None (RFC 9309, section 2.2.2)."""
        path = normalize_path(url)
        if path == "/robots.txt":
            return None
        line = next((line for pattern, line in self._paths if matches_path(pattern, path)), None)
        return line if line is not None and line.key == DISALLOW else None

    def read_statements(self, url: str, robots_url: str) -> Iterator[Statement]:
        """Yield what the lines of the longest matching path refuse, by kind of line; all lines of that length count."""
        path = normalize_path(url)
        longest: dict[str, int] = {}
        for pattern, listed, line in self._preferences:
            if len(pattern) < longest.get(line.key, 0) or not matches_path(pattern, path):
                continue
            longest[line.key] = len(pattern)
            if uses := read_refused_uses(listed):
                signal, name = PREFERENCES[line.key], f"{line.key.title()}: {tidy_line(listed)}"
                yield Statement(signal, uses, f"robots.txt: {name}", tidy_line(line.text), name_line(robots_url, line))

    def list_lines(self, key: str) -> list[RobotsLine]:
        """Return the lines with that key and a value: `license`."""
        return [line for line in self.lines if line.key == key and line.value]

    def read_delay(self) -> float:
        """Return the largest Crawl-delay in seconds; 0 where there is none that is a number."""
        return max((_read_seconds(line.value) for line in self.lines if line.key == "crawl-delay"), default=0.0)


@dataclass(frozen=True)
class RobotsFile:
    """A parsed robots.txt: its groups, and the lines that are outside of them."""

    groups: tuple[tuple[frozenset[str], tuple[RobotsLine, ...]], ...] = ()
    common: tuple[RobotsLine, ...] = ()

    def select_rules(self, agent: str) -> AgentRules:
        """Return the lines for an agent's product token: those of all groups that name it, else those for `*`."""
        token = agent.lower()
        own = [lines for agents, lines in self.groups if token in agents]
        chosen = own or [lines for agents, lines in self.groups if "*" in agents]
        return AgentRules((*self.common, *(line for lines in chosen for line in lines)))

    def list_values(self, key: str) -> list[str]:
        """Return the values of all lines with that key, in any group: `sitemap`."""
        lines = (*self.common, *(line for _, lines in self.groups for line in lines))
        return [line.value for line in sorted(lines, key=lambda line: line.number) if line.key == key and line.value]


def parse_robots_file(content: bytes) -> RobotsFile:
    """Return the groups and lines of a robots.txt; bytes that are not UTF-8 are replaced, a BOM is skipped.

    A `license` line (RSL) behind an empty line is outside of the group before it.
    """
    common: list[RobotsLine] = []
    groups: list[_Group] = []
    naming = detached = False
    for line in _read_lines(content.decode("utf-8-sig", "replace")):
        if line.key == "":
            detached = True
        elif line.key == AGENT:
            if not naming:
                groups.append(_Group())
            token = _TOKEN.match(line.value)
            groups[-1].agents |= {token[0].lower()} if token else set()
            naming, detached = True, False
        else:
            naming = naming and line.key not in _RULES
            outside = not groups or (line.key == "license" and detached)
            (common if outside else groups[-1].lines).append(line)
    lines = (line for line in common if line.key not in (ALLOW, DISALLOW))
    return RobotsFile(tuple((frozenset(group.agents), tuple(group.lines)) for group in groups), tuple(lines))


def name_line(url: str, line: RobotsLine) -> str:
    """Return where a line is: the URL of its file, and its number."""
    return f"{url} line {line.number}"


def _read_lines(text: str) -> Iterable[RobotsLine]:
    """Yield lines with a key, and empty lines with an empty one."""
    for number, raw in enumerate(_LINES.split(text), 1):
        key, colon, value = raw.partition("#")[0].partition(":")
        key = key.strip().lower()
        if colon and key:
            yield RobotsLine(number, _SPELLINGS.get(key, key), value.strip(), raw)
        elif not raw.strip():
            yield RobotsLine(number, "", "", raw)


def _split_preference(value: str) -> tuple[str, str]:
    """Return the pattern and the list of `/path train-ai=n`; without a path it is about all."""
    first, _, rest = value.partition(" ") if " " in value else value.partition("\t")
    if first.startswith(("/", "*")):
        return normalize_pattern(first), rest.strip()
    return "/", value


def _read_seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        return 0.0
    return seconds if seconds >= 0 else 0.0  # also for nan: sites write anything
