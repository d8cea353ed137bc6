"""Find the files that the values of a column name: below which folder, and with which ending."""

import posixpath
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.init.file_kinds import split_stem
from pipeline.init.survey import Survey

FOUND = 0.5
"""The share of the values that must be names of files."""

MAX_VALUES = 2_000


@dataclass(frozen=True)
class FileColumn:
    """A column that names files.

    Attributes:
        column: its name.
        folder: below the root, that its values are relative to; empty: the root.
        ending: that its values lack.
        files: that it names, as far as it was looked at, by value.
        share: of its values that are names of files.
    """

    column: str
    folder: str
    ending: str
    files: dict[str, str]
    share: float

    def find(self, value: Any) -> str | None:
        """Return the file that a value names."""
        return self.files.get(str(value))


class FileNames:
    """The names of the files of a survey, to be looked up by the end of their path."""

    def __init__(self, survey: Survey, names: Iterable[str]) -> None:
        self._survey = survey
        self._names = set(names)
        self._by_base: dict[str, list[str]] = defaultdict(list)
        for name in self._names:
            base = posixpath.basename(name)
            self._by_base[base].append(name)
            self._by_base[split_stem(base)[0]].append(name)

    def find_column(self, column: str, values: Sequence[Any], table: str) -> FileColumn | None:
        """Return how the values of a column of a table name files; None where they do not.

        Of folders with the same names in them the one is taken whose name is in that of the table.
        """
        texts = list(dict.fromkeys(value for value in values if isinstance(value, str)))[:MAX_VALUES]
        if not texts or len(texts) < FOUND * len(set(map(str, values[:MAX_VALUES]))):
            return None
        votes = Counter(place for text in texts for place in self._find_places(posixpath.normpath(text)))
        if not votes:
            return None
        folder, ending = min(
            votes,
            key=lambda place: (-votes[place], posixpath.basename(place[0]) not in table, place[1] != "", place),
        )
        files = {}
        for text in texts:
            name = posixpath.normpath(posixpath.join(folder, text) + ending)
            if name in self._names or (self._survey.is_sampled and (self._survey.root / name).is_file()):
                files[text] = name
        share = len(files) / len(texts)
        return FileColumn(column, folder, ending, files, share) if share >= FOUND else None

    def _find_places(self, value: str) -> set[tuple[str, str]]:
        """Return the folders and endings with which a value is the name of a file."""
        places = set()
        for name in self._by_base.get(posixpath.basename(value), ()):
            for known, ending in ((name, ""), split_stem(name)):
                if known == value or known.endswith(f"/{value}"):
                    places.add((known[: -len(value)].rstrip("/"), ending))
        return places

    def has(self, name: str) -> bool:
        """Return whether there is a file of this name."""
        return name in self._names
