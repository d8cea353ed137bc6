"""Read and write `dataset.json`, the manifest of a dataset, whose hash identifies the dataset by its content."""

import errno
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from shardwright.errors import DamageError, FormatError
from shardwright.format import tar
from shardwright.format.atomic_write import write_file
from shardwright.format.canonical_json import decode_json, encode_canonical, hash_canonical
from shardwright.format.dataclass_json import check_keys, load_value
from shardwright.format.field import Field, check_fields
from shardwright.format.layout import Layout, plan_layout

MANIFEST_NAME = "dataset.json"
FORMAT = "shardwright"
VERSIONS = (1, 2, 3)
"""3 where a split has an index for each shard; else, with one index for each split, 2 where a field has another
encoding, and 1 where all fields are arrays. Splits are written as 3; those of an older dataset keep their form."""
HASHES = {"hash", "sources_hash"}

SPLIT_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
FILE_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,99}")
SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class ShardRecord:
    """One shard: its file name, its number of samples, the bytes of the file and of each meta member, its sha256, and
    that of its index, None where the split has one index for all shards."""

    name: str
    samples: int
    bytes: int
    meta_bytes: int
    sha256: str
    index_sha256: str | None = None

    def __post_init__(self) -> None:
        _check_file(self.name, self.sha256)
        if self.index_sha256 is not None:
            _check_file(self.name, self.index_sha256, "index_sha256")
        if self.samples < 0:
            raise FormatError(f"shard {self.name}: samples is {self.samples}; it must be at least 0")
        if not 0 <= self.meta_bytes <= tar.MAX_MEMBER_BYTES:
            most = tar.MAX_MEMBER_BYTES
            raise FormatError(f"shard {self.name}: meta_bytes is {self.meta_bytes}; it must be 0 to {most}")

    @property
    def index_name(self) -> str:
        """The file name of its index: `train-000003.index.npy` for `train-000003.tar`."""
        return f"{self.name.removesuffix('.tar')}.index.npy"


@dataclass(frozen=True)
class FileRecord:
    """A file that is no shard: its name, without folders, and its sha256."""

    name: str
    sha256: str

    def __post_init__(self) -> None:
        _check_file(self.name, self.sha256)


@dataclass(frozen=True)
class Split:
    """The shards of a split in reading order; all its files are in the folder `<split>/`.

    Attributes:
        shards: each with an index of its own, or none with one.
        index: the one index of all shards in a split that was written as version 1 or 2; else None.

    Raises:
        FormatError: a shard has no index or two, or two files have the same name.
    """

    shards: tuple[ShardRecord, ...]
    index: FileRecord | None = None

    def __post_init__(self) -> None:
        for shard in self.shards:
            if (shard.index_sha256 is None) != (self.index is not None):
                what = "has none and its split has none" if self.index is None else "has one and its split has one too"
                raise FormatError(f"shard {shard.name}: it {what}; each shard must have an index, or the split one")
        _check_distinct("file", self.file_names)

    @property
    def file_names(self) -> list[str]:
        """The names of all files of the split: its shards and their indexes, or its index."""
        shards = [shard.name for shard in self.shards]
        return shards + ([shard.index_name for shard in self.shards] if self.index is None else [self.index.name])

    @property
    def samples(self) -> int:
        """Samples in the split."""
        return sum(shard.samples for shard in self.shards)

    def to_json(self) -> dict[str, Any]:
        """Return the record of the split as stored, with its samples."""
        shards = [{name: part for name, part in vars(shard).items() if part is not None} for shard in self.shards]
        return {"samples": self.samples, "shards": shards} | ({"index": asdict(self.index)} if self.index else {})


@dataclass(frozen=True)
class Statistics:
    """Mean and standard deviation of a field over the training split, one a channel, of `count` values each."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    count: int


@dataclass(frozen=True)
class Source:
    """A source of samples: its licence, the attribution to give, and the number of samples from it."""

    source: str
    licence: str
    attribution: str
    samples: int


@dataclass(frozen=True)
class Manifest:
    """The content of `dataset.json`.

    Attributes:
        fields: by name, in the order of the members.
        splits: by name.
        classes: the names that `label` is an index into, or None.
        vocabulary: the file beside the manifest that token ids refer to, or None.
        statistics: by field, or None.
        extract: params that the fields were computed with, any JSON, so that prediction can compute them the same way.
        sources: of the samples, or None; not part of the hash.

    Raises:
        FormatError: a name is not allowed or occurs twice, or a shard's size does not follow from its samples and
            fields.
    """

    fields: Mapping[str, Field]
    splits: Mapping[str, Split]
    classes: tuple[str, ...] | None = None
    vocabulary: FileRecord | None = None
    statistics: Mapping[str, Statistics] | None = None
    extract: Mapping[str, Any] | None = None
    sources: tuple[Source, ...] | None = None

    def __post_init__(self) -> None:
        check_fields(self.fields)
        _check_distinct("class", self.classes or ())
        layout = plan_layout(self.fields, 0)
        for name, split in self.splits.items():
            if not SPLIT_NAME.fullmatch(name):
                raise FormatError(f"split name is {name!r}; it must match {SPLIT_NAME.pattern}")
            for shard in split.shards:
                _check_size(layout, shard, name)

    @property
    def version(self) -> int:
        """The version of the format, which follows from splits and fields: see `VERSIONS`."""
        if any(split.index is None for split in self.splits.values()):
            return 3
        return 2 if any(field.varies for field in self.fields.values()) else 1

    @cached_property
    def hash(self) -> str:
        """The dataset's identity: the sha256, 64 hex digits, of the canonical JSON without `hash` and `sources`."""
        document = self._to_document()
        document.pop("sources", None)
        return hash_canonical(document)

    @property
    def hashes(self) -> dict[str, str]:
        """The hashes that are stored to detect edits: `hash`, and where there are sources `sources_hash` for them."""
        sources = None if self.sources is None else [asdict(source) for source in self.sources]
        return {"hash": self.hash} | ({} if sources is None else {"sources_hash": hash_canonical(sources)})

    def to_json(self) -> dict[str, Any]:
        """Return the manifest as stored, without its hashes; parts that are None are left out."""
        value: dict[str, Any] = decode_json(encode_canonical(self._to_document()))  # tuples become arrays
        return value

    def _to_document(self) -> dict[str, Any]:
        """Return the manifest as stored, with tuples for arrays."""
        splits = {name: split.to_json() for name, split in self.splits.items()}
        statistics = None
        if self.statistics is not None:
            statistics = {name: asdict(numbers) for name, numbers in self.statistics.items()}
        document = {
            "format": FORMAT,
            "version": self.version,
            # A list: the order of the members is the order of the fields, and objects are sorted by key.
            "fields": [{"name": name} | field.to_json() for name, field in self.fields.items()],
            "splits": splits,
            "classes": self.classes,
            "vocabulary": self.vocabulary and asdict(self.vocabulary),
            "statistics": statistics,
            "extract": self.extract,
            "sources": None if self.sources is None else [asdict(source) for source in self.sources],
        }
        return {name: part for name, part in document.items() if part is not None}

    @classmethod
    def from_json(cls, document: object) -> "Manifest":
        """Load the manifest from a JSON value.

        Raises:
            FormatError: another format, a newer version or not that of its splits and fields, a missing or unknown key,
                a value that is not allowed.
        """
        known = {"format", "version", "fields", "splits", "classes", "vocabulary", "statistics", "extract"}
        version = _check_version(document)
        parts = check_keys(document, {"fields", "splits"}, known | {"sources"}, "manifest")
        manifest = cls(
            fields=_load_fields(parts["fields"]),
            splits=_load_splits(parts["splits"]),
            **{name: load_value(hint, parts[name], name) for name, hint in OPTIONAL_PARTS.items() if name in parts},
        )
        if version != manifest.version:
            raise FormatError(f"version is {version}; with these splits and fields it must be {manifest.version}")
        return manifest


OPTIONAL_PARTS: Mapping[str, Any] = {
    "classes": tuple[str, ...],
    "vocabulary": FileRecord,
    "statistics": Mapping[str, Statistics],
    "extract": Mapping[str, Any],
    "sources": tuple[Source, ...],
}


def read_manifest(root: str | Path) -> Manifest:
    """Read the manifest of the dataset in `root` and check its hashes.

    Raises:
        FileNotFoundError: it is missing; the message names the path.
        FormatError: it is not a manifest, or one of a newer version.
        DamageError: a hash in it is not that of its content, as after an edit; the message shows both.
    """
    path = Path(root) / MANIFEST_NAME
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise FileNotFoundError(errno.ENOENT, "missing; give the folder of a dataset", str(path)) from error
    try:
        document = decode_json(content)
        names = HASHES & document.keys() if isinstance(document, dict) else set()
        stored = {name: document.pop(name) for name in names}
        manifest = Manifest.from_json(document)
        expected = manifest.hashes
    except FormatError as error:
        raise FormatError(f"{path}: {error}") from error
    for name in sorted(expected.keys() | stored.keys()):
        if stored.get(name) != expected.get(name):
            found = f"{name} is {stored.get(name)!r:.80}, that of its content is {expected.get(name)}"
            raise DamageError(f"{path}: {found}; it was edited or damaged", shard=path.name)
    return manifest


def write_manifest(root: str | Path, manifest: Manifest) -> None:
    """Write the manifest of the dataset in `root` atomically, replacing any that exists."""
    write_file(Path(root) / MANIFEST_NAME, [encode_manifest(manifest)])


def encode_manifest(manifest: Manifest) -> bytes:
    """Return the bytes of `dataset.json`."""
    return encode_canonical(manifest.to_json() | manifest.hashes, indent=1) + b"\n"


def _check_version(document: object) -> int:
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise FormatError(f"not a manifest of the format {FORMAT!r}")
    version = document.get("version")
    if type(version) is not int or version < 1:
        raise FormatError(f"version is {version!r:.80}; it must be an int of at least 1")
    if version > VERSIONS[-1]:
        raise FormatError(
            f"version is {version}; this release reads versions up to {VERSIONS[-1]}, a newer one may read it"
        )
    return version


def _load_fields(value: object) -> dict[str, Field]:
    if not isinstance(value, list):
        raise FormatError(f"fields is {value!r:.80}; it must be an array")
    fields: dict[str, Field] = {}
    for number, entry in enumerate(value):
        where = f"fields[{number}]"
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str) or entry["name"] in fields:
            raise FormatError(f"{where} is {entry!r:.80}; it must be an object with a name that no other field has")
        fields[entry["name"]] = load_value(Field, {k: v for k, v in entry.items() if k != "name"}, where)
    return fields


def _load_splits(value: object) -> dict[str, Split]:
    if not isinstance(value, dict):
        raise FormatError(f"splits is {value!r:.80}; it must be an object")
    splits = {}
    for name, entry in value.items():
        where = f"splits.{name}"
        parts = check_keys(entry, {"samples", "shards"}, {"samples", "shards", "index"}, where)
        samples, shards = parts["samples"], load_value(tuple[ShardRecord, ...], parts["shards"], f"{where}.shards")
        index = load_value(FileRecord, parts["index"], f"{where}.index") if "index" in parts else None
        split = splits[name] = _make_split(shards, index, where)
        if samples != split.samples:
            raise FormatError(f"{where}.samples is {samples!r:.80}; its shards have {split.samples}")
    return splits


def _make_split(shards: tuple[ShardRecord, ...], index: FileRecord | None, where: str) -> Split:
    try:
        return Split(shards, index)
    except FormatError as error:
        raise FormatError(f"{where}: {error}") from error


def _check_size(layout: Layout, shard: ShardRecord, split: str) -> None:
    """Check a shard's size against its samples; where these vary in size, against the least that they take.

    Args:
        layout: of samples without a meta.
        shard: the record to check.
        split: its name, for the message.
    """
    needed = shard.samples * layout.find_stride(shard.meta_bytes) + len(tar.END)
    beyond = shard.bytes - needed
    if beyond and (not layout.varying or beyond < 0 or beyond % tar.BLOCK):
        least = "at least " if layout.varying else ""
        raise FormatError(f"shard {split}/{shard.name}: bytes is {shard.bytes}; its samples take {least}{needed}")


def _check_distinct(kind: str, names: Sequence[str]) -> None:
    repeats = [name for name, count in Counter(names).items() if count > 1]
    if repeats:
        raise FormatError(f"{kind} {repeats[0]!r} occurs twice; it must be unique")


def _check_file(name: str, sha256: str, key: str = "sha256") -> None:
    if not FILE_NAME.fullmatch(name):
        raise FormatError(f"file name is {name!r}; it must match {FILE_NAME.pattern}")
    if not SHA256.fullmatch(sha256):
        raise FormatError(f"{name}: {key} is {sha256!r:.80}; it must be 64 hex digits")
