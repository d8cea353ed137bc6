"""Reads a dataset from end to end and says all that is not as it was written."""

from dataclasses import dataclass
from pathlib import Path

from shardwright.errors import DamageError, ShardwrightError
from shardwright.format.index import INDEX_NAME, Index, find_repeats, read_index
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
    """One thing that is wrong.

    Attributes:
        shard: `<split>/<file>`, or the name of a file beside the manifest.
        sample: its key, where the damage is in one.
        what: what is wrong, in words.
    """

    shard: str
    sample: str | None
    what: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.shard, self.sample, self.what) if part)


@dataclass(frozen=True)
class Report:
    """What `verify` found, and how much it read.

    Attributes:
        problems: in the order of the manifest.
        hash: the dataset's name, or None where its manifest is of no use.
        shards: that were there and read.
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
        """Whether everything is as it was written."""
        return not self.problems


def verify(root: str | Path) -> Report:
    """Rehash everything in a dataset: manifest, indexes, every byte of every shard, the vocabulary.

    One pass over the files, with one sample and all keys in memory. A damaged shard is named with the samples that
    are damaged; a shard that is missing, cut, swapped, renamed or not listed is named as such, and a key that several
    samples of a split have. Nothing can be checked beyond a manifest that is damaged itself.

    Raises:
        NotADirectoryError: `root` is not a folder.
    """
    root = Path(root)
    if not root.is_dir():
        raise NotADirectoryError(f"{root}: no such folder")
    try:
        manifest = read_manifest(root)
    except FileNotFoundError:
        return Report((Problem(MANIFEST_NAME, None, "missing"),))
    except ShardwrightError as error:
        return Report((Problem(MANIFEST_NAME, None, _say_without_path(error, root / MANIFEST_NAME)),))
    check = _Check(root, manifest)
    check.run()
    return Report(tuple(check.problems), manifest.hash, check.shards, check.samples, check.bytes)


class _Check:
    """One verification under way: what was found and read so far."""

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
        """Check all that the manifest lists, then look for what it does not list."""
        if (self.root / MANIFEST_NAME).read_bytes() != encode_manifest(self.manifest):
            self._add(MANIFEST_NAME, None, "says what was written, and not as it was written")
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
            self._add(record.name, None, _say_failure(error))
            return
        if found != record.sha256:
            self._add(record.name, None, f"its sha256 is {found}, the manifest says {record.sha256}")

    def _check_split(self, name: str, split: Split) -> None:
        folder = self.root / name
        path, index = folder / split.index.name, None
        try:
            index = read_index(path, self.manifest.fields, split)
            self._check_keys(name, index)
        except DamageError as error:
            self._add(f"{name}/{path.name}", None, _say_without_path(error, path))
        first = 0
        for shard in split.shards:
            rows = None if index is None else index[first : first + shard.samples]
            first += shard.samples
            try:
                self._check_shard(name, shard, rows)
            except OSError as error:
                self._add(f"{name}/{shard.name}", None, _say_failure(error))
        listed = {split.index.name, *(shard.name for shard in split.shards)}
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if path.name not in listed:
                self._add(f"{name}/{path.name}", None, "not in the manifest" + self._find_origin(path))

    def _check_keys(self, split: str, index: Index) -> None:
        repeats = find_repeats([index])
        for key in repeats[:MAX_DAMAGES]:
            self._add(f"{split}/{INDEX_NAME}", key, "several samples have this key")
        if len(repeats) > MAX_DAMAGES:
            more = len(repeats) - MAX_DAMAGES
            self._add(f"{split}/{INDEX_NAME}", None, f"{more} more keys are those of several samples")

    def _check_shard(self, split: str, record: ShardRecord, rows: Index | None) -> None:
        path, label = self.root / split / record.name, f"{split}/{record.name}"
        fields = self.manifest.fields
        # Without its index, a shard can be rehashed and no more.
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
            self._add(label, None, f"{walk.count - len(walk.damages)} more places are damaged")
        if walk.sha256 != record.sha256 and not walk.damages:
            self._add(label, None, f"its sha256 is {walk.sha256}, the manifest says {record.sha256}")

    def _find_origin(self, path: Path) -> str:
        """What an unlisted file is a copy of, if of one of the shards."""
        owner = self._owners.get(hash_file(path)) if path.is_file() else None
        return f", holds the bytes of {owner}" if owner else ""


def _say_without_path(error: ShardwrightError, path: Path) -> str:
    return str(error).removeprefix(f"{path}: ")


def _say_failure(error: OSError) -> str:
    return "missing" if isinstance(error, FileNotFoundError) else f"cannot be read: {error.strerror}"
