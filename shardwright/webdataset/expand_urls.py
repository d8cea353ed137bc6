"""Which shards a user means: a list, a pattern with braces or stars, a folder."""

import glob
import itertools
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from shardwright.errors import FormatError

Urls = str | Path | Sequence[str | Path]

SCHEME = re.compile(r"([a-z][a-z0-9+.-]+):", re.IGNORECASE)
RANGE = re.compile(r"(\d+)\.\.(\d+)(?:\.\.([1-9]\d*))?")
STARS = re.compile(r"[*?\[]")
BRACES = re.compile(r"\{([^{}]*)\}")
MAX_SHARDS = 100_000


@dataclass(frozen=True)
class ShardList:
    """Shards in reading order.

    Attributes:
        patterns: what the user named them by, made absolute; they name the index.
        paths: of the shards, absolute, each once. They need not be there.
        folder: the innermost that holds all of them.
    """

    patterns: tuple[str, ...]
    paths: tuple[Path, ...]
    folder: Path

    @property
    def names(self) -> tuple[str, ...]:
        """The paths from `folder` on, with slashes: what stays the same where the folder is moved or copied."""
        return tuple(path.relative_to(self.folder).as_posix() for path in self.paths)

    @property
    def relative_patterns(self) -> tuple[str, ...]:
        """The patterns, seen from `folder`."""
        return tuple(Path(os.path.relpath(pattern, self.folder)).as_posix() for pattern in self.patterns)


def list_shards(urls: Urls) -> ShardList:
    """The shards that a user means.

    Args:
        urls: a folder, which stands for the `.tar` files right in it, sorted by name; a file; a pattern such as
            `shards/train-{000000..000099}.tar`, in the order of its braces, or `shards/*.tar`, sorted by name; or
            several of these.

    Raises:
        FileNotFoundError: a folder or a pattern with stars has no shard.
        FormatError: a shard is meant twice, or stands where it cannot be read from here.
    """
    items = [urls] if isinstance(urls, str | Path) else list(urls)
    if not items:
        raise FormatError("no shards: the list is empty")
    patterns = [_make_absolute(str(item)) for item in items]
    paths: list[Path] = []
    for pattern in patterns:
        paths.extend(_expand(pattern))
        if len(paths) > MAX_SHARDS:
            raise FormatError(f"{pattern}: more than {MAX_SHARDS} shards")
    _refuse_repeats(paths)
    only_folder = len(patterns) == 1 and Path(patterns[0]).is_dir()
    folder = Path(patterns[0]) if only_folder else Path(os.path.commonpath([path.parent for path in paths]))
    return ShardList(tuple(patterns), tuple(paths), folder)


def expand_braces(pattern: str) -> Iterator[str]:
    """The texts that a pattern with braces stands for, as the shell expands them: `{08..11}` and `{a,b}`.

    Raises:
        FormatError: a brace is not closed, or its content is neither a range nor a list.
    """
    found = BRACES.search(pattern)
    before, after = (pattern[: found.start()], pattern[found.end() :]) if found else (pattern, "")
    if "{" in before or "}" in before:
        raise FormatError(f"{pattern!r}: a brace inside another, or without its other half")
    if not found:
        yield pattern
        return
    for choice in _expand_brace(found[1], pattern):
        yield from expand_braces(before + choice + after)


def _expand_brace(content: str, pattern: str) -> Iterable[str]:
    if numbers := RANGE.fullmatch(content):
        first, last, step = int(numbers[1]), int(numbers[2]), int(numbers[3] or 1)
        padded = any(len(text) > 1 and text.startswith("0") for text in (numbers[1], numbers[2]))
        width = max(len(numbers[1]), len(numbers[2])) if padded else 0
        sign = 1 if last >= first else -1
        return (f"{number:0{width}d}" for number in range(first, last + sign, sign * step))
    if "," in content:
        return content.split(",")
    raise FormatError(f"{pattern!r}: {{{content}}} is neither a range such as {{000..099}} nor a list such as {{a,b}}")


def _make_absolute(item: str) -> str:
    scheme = SCHEME.match(item)
    if scheme and scheme[1].lower() == "pipe":
        raise FormatError(f"{item!r}: commands are not run; write their output to a .tar first")
    if scheme and scheme[1].lower() == "file":
        item = item[scheme.end() :].removeprefix("//")
    elif scheme and item[scheme.end() :].startswith("//"):
        raise FormatError(f"{item!r}: shards of others are read from local disks alone; copy them here first")
    return os.path.abspath(item)  # noqa: PTH100 (Path.absolute keeps "..")


def _expand(pattern: str) -> Iterator[Path]:
    path = Path(pattern)
    if path.is_dir():
        yield from _list_folder(path)
    elif path.exists():  # a name may hold braces and stars of its own
        yield path
    else:
        for text in itertools.islice(expand_braces(pattern), MAX_SHARDS + 1):
            if not STARS.search(text):
                yield Path(text)
                continue
            found = sorted(glob.glob(text, recursive=True))  # noqa: PTH207 (Path.glob takes no absolute pattern)
            if not found:
                raise FileNotFoundError(f"{text}: no file matches this pattern")
            yield from map(Path, found)


def _list_folder(folder: Path) -> list[Path]:
    names = sorted(path.name for path in folder.iterdir())
    found = [folder / name for name in names if name.endswith(".tar") and not name.startswith(".")]
    if not found:
        packed = [name for name in names if re.search(r"\.(tar\.\w+|tgz|tbz2?|txz)$", name)]
        hint = f"; {packed[0]} is compressed, decompress it to a plain .tar" if packed else ""
        raise FileNotFoundError(f"{folder}: no .tar file in this folder{hint}")
    return found


def _refuse_repeats(paths: Sequence[Path]) -> None:
    seen: set[Path] = set()
    for path in paths:
        if path in seen:
            raise FormatError(f"{path}: this shard is listed twice")
        seen.add(path)
