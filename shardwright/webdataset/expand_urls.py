"""Expand the shards that a user names: a list, patterns with braces or stars, a folder."""

import glob
import itertools
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from shardwright.errors import FormatError

Urls = str | Path | Sequence[str | Path]

SCHEME = re.compile(r"([a-z][a-z0-9+.-]+):", re.IGNORECASE)
RANGE = re.compile(r"(\d+)\.\.(\d+)(?:\.\.([1-9]\d*))?")
STARS = re.compile(r"[*?\[]")
BRACES = re.compile(r"\{([^{}]*)\}")
LISTS = "::"
"""Between the patterns of a list in one string, as in webdataset."""
PLAIN = (".tar",)
COMPRESSED = (".tar.gz", ".tgz", ".tar.zst", ".tzst")
"""The endings of the names of shards that `decompress=True` reads."""
ALLOW = "decompress=True decompresses it once, into the cache"
OTHERS = re.compile(r"\.(tar\.\w+|tbz2?|txz)$")
MAX_SHARDS = 100_000


@dataclass(frozen=True)
class Copy:
    """The decompressed copy of a shard: its file, its size in bytes and its sha256."""

    path: Path
    bytes: int
    sha256: str


@dataclass(frozen=True)
class ShardList:
    """Shards in reading order.

    Attributes:
        patterns: what the user passed, made absolute; the index is named by them.
        paths: of the shards, absolute, each once; they need not exist.
        folder: the innermost folder that contains all of them.
        copies: of those that are compressed, by path.
    """

    patterns: tuple[str, ...]
    paths: tuple[Path, ...]
    folder: Path
    copies: Mapping[Path, Copy] = field(default_factory=dict)

    @property
    def files(self) -> tuple[Path, ...]:
        """The file that holds the tar of each of `paths`: its copy, or itself."""
        return tuple(self.copies[path].path if path in self.copies else path for path in self.paths)

    @property
    def names(self) -> tuple[str, ...]:
        """The paths relative to `folder`, with slashes: unchanged when the folder is moved or copied."""
        return tuple(path.relative_to(self.folder).as_posix() for path in self.paths)

    @property
    def relative_patterns(self) -> tuple[str, ...]:
        """The patterns, relative to `folder`."""
        return tuple(Path(os.path.relpath(pattern, self.folder)).as_posix() for pattern in self.patterns)


def list_shards(urls: Urls, compressed: bool = False) -> ShardList:
    """Return the shards that a user names.

    Args:
        urls: a folder, for the `.tar` files directly in it, sorted by name; a file; a pattern such as
            `shards/train-{000000..000099}.tar`, in the order of its braces, or `shards/*.tar`, sorted by name; several
            of these, in a list or in a string with `::` between them.
        compressed: whether a folder's shards are also those that are `COMPRESSED`.

    Raises:
        FileNotFoundError: a folder or a pattern with stars matches no shard.
        FormatError: a shard is listed twice, or is not on a local disk; or a folder has it both plain and compressed.
    """
    items = [urls] if isinstance(urls, str | Path) else list(urls)
    if not items:
        raise FormatError("urls is an empty list; name at least one shard")
    patterns = [_make_absolute(part) for item in items for part in _split_list(str(item))]
    endings = PLAIN + COMPRESSED if compressed else PLAIN
    paths: list[Path] = []
    for pattern in patterns:
        paths.extend(_expand(pattern, endings))
        if len(paths) > MAX_SHARDS:
            raise FormatError(f"{pattern} gives more than {MAX_SHARDS} shards, which is the limit")
    _check_unique(paths)
    only_folder = len(patterns) == 1 and Path(patterns[0]).is_dir()
    folder = Path(patterns[0]) if only_folder else Path(os.path.commonpath([path.parent for path in paths]))
    return ShardList(tuple(patterns), tuple(paths), folder)


def expand_braces(pattern: str) -> Iterator[str]:
    """Yield the expansions of a pattern with braces, as the shell does: `{08..11}` and `{a,b}`.

    Raises:
        FormatError: braces are nested or unbalanced, or contain neither a range nor a list.
    """
    found = BRACES.search(pattern)
    before, after = (pattern[: found.start()], pattern[found.end() :]) if found else (pattern, "")
    if "{" in before or "}" in before:
        raise FormatError(f"{pattern!r} has nested or unbalanced braces")
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
    raise FormatError(
        f"{pattern!r} has {{{content}}}; it must be a range such as {{000..099}} or a list such as {{a,b}}"
    )


def _split_list(item: str) -> list[str]:
    """Split a list such as `a.tar::b-{0..9}.tar`, unless it is the name of a file."""
    parts = item.split(LISTS)
    if len(parts) == 1 or Path(item).exists():
        return [item]
    if not all(parts):
        raise FormatError(
            f"{item!r} has an empty part; it must have a shard or a pattern before and after each {LISTS}"
        )
    return parts


def _make_absolute(item: str) -> str:
    scheme = SCHEME.match(item)
    if scheme and scheme[1].lower() == "pipe":
        raise FormatError(f"{item!r} is a command, and commands are not run; write its output to a .tar first")
    if scheme and scheme[1].lower() == "file":
        item = item[scheme.end() :].removeprefix("//")
    elif scheme and item[scheme.end() :].startswith("//"):
        raise FormatError(
            f"{item!r} is not on a local disk; WebDataset shards are read only from there, so copy it first"
        )
    return os.path.abspath(item)  # noqa: PTH100 (Path.absolute keeps "..")


def _expand(pattern: str, endings: tuple[str, ...]) -> Iterator[Path]:
    path = Path(pattern)
    if path.is_dir():
        yield from _list_folder(path, endings)
    elif path.exists():  # a file name may contain braces and stars
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


def _list_folder(folder: Path, endings: tuple[str, ...]) -> list[Path]:
    names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    found = [name for name in names if name.endswith(endings)]
    if not found:
        packed = [name for name in names if name.endswith(COMPRESSED)]
        others = [name for name in names if OTHERS.search(name)]
        hint = f"; {packed[0]} is compressed: {ALLOW}" if packed else ""
        hint = hint or (f"; {others[0]} is compressed: decompress it to a plain .tar" if others else "")
        raise FileNotFoundError(f"{folder} contains no {' or '.join(endings)} file{hint}")
    stems: dict[str, str] = {}
    for name in found:
        stem = name.removesuffix(next(ending for ending in endings if name.endswith(ending)))
        if (other := stems.setdefault(stem, name)) != name:
            raise FormatError(f"{folder} contains {other} and {name}; name the shards to read by a pattern or a list")
    return [folder / name for name in found]


def _check_unique(paths: Sequence[Path]) -> None:
    seen: set[Path] = set()
    for path in paths:
        if path in seen:
            raise FormatError(f"{path} is listed twice; list each shard once")
        seen.add(path)
