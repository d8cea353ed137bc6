"""Read `/ai.txt`: the syntax of robots.txt, where a pattern without a slash (`*.jpg`) is about the ends of paths. Pure.

It says what may be used for training, not what may be fetched. Source: Spawning's generator of ai.txt files.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.consent.robots_file import AgentRules, name_line, parse_robots_file
from pipeline.consent.statements import Statement, tidy_line

AI_FILE = "/ai.txt"


@dataclass(frozen=True)
class AiFile:
    """The rules of a site's file at `url` for one agent."""

    url: str
    rules: AgentRules

    def read_statements(self, url: str) -> Iterator[Statement]:
        """Yield the line that refuses training on `url`."""
        line = self.rules.find_disallow(url)
        if line:
            text = tidy_line(line.text)
            yield Statement("ai-txt", frozenset({"ai-train"}), f"ai.txt: {text}", text, name_line(self.url, line))


def parse_ai_file(content: bytes, url: str, agent: str) -> AiFile:
    """Return the rules of a file for the agent whose product token is `agent`."""
    return AiFile(url, parse_robots_file(content).select_rules(agent))
