"""Verify a dataset: read every byte and report everything that differs from what was written."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from shardwright.errors import DamageError, ShardwrightError
from shardwright.format.index import Index, RepeatFinder, open_indexes
from shardwright.format.manifest import (
    MANIFEST_NAME,
    FileRecord,
    Manifest,
    ShardRecord,
    Split,
    encode_manifest,
    read_manifest,
)
from shardwright.format.walk_shard import MAX_DAMAGES, WalkResult, hash_file, walk_shard


@dataclass(frozen=True)
class Problem:
    """A fault that `verify` found.

    Attributes:
        shard: `<split>/<file>`, or the name of a file beside the manifest.
        sample: the key of the damaged sample, or None.
        what: the fault, in words.
    """

    shard: str
    sample: str | None
    what: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.shard, self.sample, self.what) if part)


@dataclass(frozen=True)
class Report:
    """The problems that `verify` found, and how much it read.

    Attributes:
        problems: in the order of the manifest.
        hash: of the dataset, or None where its manifest cannot be read.
        shards: that were read.
        samples: in the shards that were read.
        bytes: of the shards that were read.
    """

    problems: tuple[Problem, ...]
    hash: str | None = None
    shards: int = 0
    samples: int = 0
    bytes: int = 0

    @property
    def ok(self) -> bool:
        """Whether no problem was found."""
        return not self.problems


def verify(root: str | Path) -> Report:
    """Check every byte of a dataset: manifest, indexes, shards, vocabulary.

    Reads each file once, with one sample or a MiB, one index and 16 bytes a key in memory. Reports the damaged samples
    of each shard; shards that are missing, cut, swapped, renamed or not listed; and keys that occur more than once in a
    split. With a damaged manifest nothing else can be checked.

    Raises:
        NotADirectoryError: `root` is not a folder.
    """
    root = Path(root)
    if not root.is_dir():
        raise NotADirectoryError(f"{root} is not a folder; give the folder with {MANIFEST_NAME}")
    try:
        manifest = read_manifest(root)
    except FileNotFoundError:
        return Report((Problem(MANIFEST_NAME, None, "missing"),))
    except ShardwrightError as error:
        return Report((Problem(MANIFEST_NAME, None, _remove_path(error, root / MANIFEST_NAME)),))
    check = _Check(root, manifest)
    check.run()
    return Report(tuple(check.problems), manifest.hash, check.shards, check.samples, check.bytes)


class _Check:
    """The problems and counts of a verification in progress."""

    def __init__(self, root: Path, manifest: Manifest) -> None:
        self.root = root
        self.manifest = manifest
        self.problems: list[Problem] = []
        self.shards = self.samples = self.bytes = 0
        self._owners = {
            shard.sha256: f"{name}/{shard.name}"
            for name, split in sorted(manifest.splits.items())
            for shard in split.shards
        }

    def run(self) -> None:
        """Check all files that the manifest lists, then report those that it does not list."""
        if (self.root / MANIFEST_NAME).read_bytes() != encode_manifest(self.manifest):
            self._add(MANIFEST_NAME, None, "its content is right, but not formatted as it was written")
        if self.manifest.vocabulary is not None:
            self._check_file(self.manifest.vocabulary)
        for name in sorted(self.manifest.splits):
            self._check_split(name, self.manifest.splits[name])
        for folder in sorted(self.root.iterdir()):
            if folder.is_dir() and folder.name not in self.manifest.splits and any(folder.glob("*.tar")):
                self._add(f"{folder.name}/", None, "shards of a split that the manifest does not list")

    def _add(self, shard: str, sample: str | None, what: str) -> None:
        self.problems.append(Problem(shard, sample, what))

    def _check_file(self, record: FileRecord) -> None:
        try:
            found = hash_file(self.root / record.name)
        except OSError as error:
            self._add(record.name, None, _describe_failure(error))
            return
        if found != record.sha256:
            self._add(record.name, None, f"its sha256 is {found}, the manifest says {record.sha256}")

    def _check_split(self, name: str, split: Split) -> None:
        folder, keys, intact = self.root / name, RepeatFinder(), []
        read = self._open_indexes(name, split)
        for number, shard in enumerate(split.shards):
            rows = read(number)
            if rows is not None:
                keys.add(rows)
                intact.append(number)
            try:
                self._check_shard(name, shard, rows)
            except OSError as error:
                self._add(f"{name}/{shard.name}", None, _describe_failure(error))
        repeats = keys.find(rows for number in intact if (rows := read(number)) is not None)
        for key, at in repeats[:MAX_DAMAGES]:
            self._add(_name_index(name, split, intact[at]), key, "several samples have this key")
        if len(repeats) > MAX_DAMAGES:
            what = f"several samples have the same key for {len(repeats) - MAX_DAMAGES} more keys"
            self._add(_name_index(name, split, intact[repeats[-1][1]]), None, what)
        listed = set(split.file_names)
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if path.name not in listed:
                self._add(f"{name}/{path.name}", None, "not in the manifest" + self._find_origin(path))

    def _open_indexes(self, name: str, split: Split) -> Callable[[int], Index | None]:
        """Return a function that reads the index of a shard, or reports its damage and returns None."""
        try:
            read = open_indexes(self.root / name, self.manifest.fields, split)
        except (DamageError, OSError) as error:  # of the one index of a split of version 1 or 2
            self._add_failure(_name_index(name, split, 0), error)
            return lambda number: None

        def read_or_report(number: int) -> Index | None:
            try:
                return read(number)
            except (DamageError, OSError) as error:
                self._add_failure(_name_index(name, split, number), error)
                return None

        return read_or_report

    def _add_failure(self, file: str, error: DamageError | OSError) -> None:
        what = _describe_failure(error) if isinstance(error, OSError) else _remove_path(error, self.root / file)
        self._add(file, None, what)

    def _check_shard(self, split: str, record: ShardRecord, rows: Index | None) -> None:
        path, label = self.root / split / record.name, f"{split}/{record.name}"
        fields = self.manifest.fields
        # Without its index a shard can only be hashed.
        walk = WalkResult(hash_file(path), (), 0) if rows is None else walk_shard(path, record, fields, rows)
        self.shards += 1
        self.samples += record.samples
        self.bytes += path.stat().st_size
        owner = self._owners.get(walk.sha256)
        if walk.sha256 != record.sha256 and owner is not None:
            self._add(label, None, f"holds the bytes of {owner}")
            return
        for damage in walk.damages:
            self._add(label, damage.sample, damage.what)
        if walk.count > len(walk.damages):
            self._add(label, None, f"{walk.count - len(walk.damages)} more damages")
        if walk.sha256 != record.sha256 and not walk.damages:
            self._add(label, None, f"its sha256 is {walk.sha256}, the manifest says {record.sha256}")

    def _find_origin(self, path: Path) -> str:
        """Return the end of a message that names the shard an unlisted file is a copy of, "" where it is none."""
        owner = self._owners.get(hash_file(path)) if path.is_file() else None
        return f", holds the bytes of {owner}" if owner else ""


def _name_index(name: str, split: Split, number: int) -> str:
    """Return `<split>/<file>` of the index that has the rows of the shard with this number."""
    return f"{name}/{split.shards[number].index_name if split.index is None else split.index.name}"


def _remove_path(error: ShardwrightError, path: Path) -> str:
    return str(error).removeprefix(f"{path}: ")


def _describe_failure(error: OSError) -> str:
    return "missing" if isinstance(error, FileNotFoundError) else f"cannot be read: {error.strerror}"
