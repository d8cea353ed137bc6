"""Tell names that are not data, and count them."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from fnmatch import translate


class IgnoredNames:
    """Names that are not data, by shell patterns, and how many had each pattern."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self._patterns = patterns
        self._found: Counter[int] = Counter()
        joined = "|".join(f"({translate(pattern)})" for pattern in patterns)
        self._regex = re.compile(joined) if joined else None

    def match(self, name: str) -> bool:
        """Return whether a name is ignored, and count it."""
        found = self._regex.match(name) if self._regex else None
        if found is None:
            return False
        self._found[(found.lastindex or 1) - 1] += 1
        return True

    def list_counts(self) -> Iterator[tuple[str, int]]:
        """Yield each pattern that ignored something, and how much."""
        for index, count in sorted(self._found.items()):
            yield self._patterns[index], count
