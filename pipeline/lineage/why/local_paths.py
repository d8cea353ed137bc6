"""Name files on disk, and members of archives, as the stage tables do, by the sources that the params list."""

import os
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from pipeline.inputs.kinds import FOLDER
from pipeline.inputs.locate_inputs import split_pattern
from pipeline.inputs.params import SourceParams
from pipeline.tables.item_names import escape_name, name_file


class LocalName(NamedTuple):
    """What a file may be called; of a member of an archive, `dropped` is how the key of its dropped row begins."""

    name: str
    dropped: str | None = None


def name_local(word: str, sources: Sequence[SourceParams]) -> Iterator[LocalName]:
    """Yield what a path may be called in the stage tables: relative to this folder or to that of a source.

    Of an archive's member the path is that of the archive with the member's name behind it: `images.zip/cat.png`.
    Nothing is opened, so the file may have been deleted.
    """
    if "\0" in word:
        return
    for source in sources:
        folder, pattern = (Path(source.path), "") if source.kind == FOLDER else split_pattern(source.path)
        base = _make_absolute(folder)
        for path in dict.fromkeys((_make_absolute(word), _make_absolute(folder / word))):
            if path != base and path.is_relative_to(base):
                yield from _name_below(path.relative_to(base).parts, source, Path(pattern).parts)


def _make_absolute(path: str | Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100 (links are not followed)


def _name_below(parts: Sequence[str], source: SourceParams, pattern: Sequence[str]) -> Iterator[LocalName]:
    in_folder = source.kind == FOLDER
    if in_folder or _matches(parts, pattern):
        yield LocalName(_name(source, parts))
    for end in range(1, len(parts)):
        if in_folder or _matches(parts[:end], pattern):
            dropped = f"{_name(source, parts[:end])}!{_escape(parts[end:])}"
            yield LocalName(_name(source, parts if in_folder else parts[end:]), dropped)


def _name(source: SourceParams, parts: Sequence[str]) -> str:
    return name_file(source.name, _escape(parts))


def _escape(parts: Sequence[str]) -> str:
    return escape_name(os.fsencode("/".join(parts)))


def _matches(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Return whether the parts of a path match those of a pattern, as `glob` does."""
    if not pattern or not parts:
        return not pattern and not parts
    if pattern[0] == "**":
        return any(_matches(parts[start:], pattern[1:]) for start in range(len(parts)))
    return fnmatchcase(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:])
