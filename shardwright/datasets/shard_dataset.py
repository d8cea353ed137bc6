"""Read a split of a dataset at random: any sample, any batch, in any order."""

import operator
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from shardwright.datasets.base import SampleSource
from shardwright.datasets.collate import allocate_rows
from shardwright.datasets.member_checks import MemberChecks
from shardwright.datasets.read_context import DEFAULT_CONTEXT, Batch, Content, Indices, ReadContext, resolve_rows
from shardwright.errors import DamageError, FormatError
from shardwright.format.canonical_json import decode_json
from shardwright.format.checksum import compute_crc32
from shardwright.format.field import Field
from shardwright.format.index import decode_key
from shardwright.format.jpeg import decode_jpeg
from shardwright.format.manifest import Manifest
from shardwright.remote.location import Access, AccessOptions, open_location
from shardwright.remote.settings import Remote
from shardwright.storage.checked_gather import gather_checked
from shardwright.storage.file_set import FileSet
from shardwright.storage.mapped_files import MappedFiles
from shardwright.storage.sample_offsets import plan_offsets

if TYPE_CHECKING:
    from shardwright.webdataset.build_index import Indexing
    from shardwright.webdataset.columns import Decode, Members
    from shardwright.webdataset.dataset import ForeignDataset
    from shardwright.webdataset.expand_urls import Urls


class ShardDataset(SampleSource):
    """One split of a dataset, open for reading; a context manager, and a map-style dataset for PyTorch.

    Opening checks the manifest's hash, and that every shard exists in its full size. The index of a shard is read, and
    its sha256 checked, when a sample of it is first read; from then on it takes 64 bytes and more a sample. (The one
    index of a split of format version 1 or 2 is read at opening.) The crc32 of each member is checked when it is first
    delivered; if the operating system reads it from disk again later, it is not checked again. Arrays are copies: they
    stay valid when the dataset is closed, and may be written to. Unpickling opens the files again, and refuses a
    different dataset at the same path.

    From a URL, the manifest is fetched on opening, and a shard with its index when it is first read. They are cached on
    disk, and a shard's sha256 is checked when it is fetched and each time that a process opens it there. Random order
    is for a cache that holds the whole split; with a smaller one, read block by block, or shards are fetched over and
    over. `remote` limits what is requested from the server, and how often.

    Args:
        root: the folder with `dataset.json`, or its URL, of any protocol that fsspec supports.
        split: name of the split, such as "train".
        access: "map" reads through memory maps: the fastest, but if another process truncates a shard while it is open,
            a signal ends this process. "pread" reads with system calls: a truncated shard is a `DamageError`. Shards
            from a URL are always read with system calls.
        cache: the folder for files from a URL; processes may share it. None: `$XDG_CACHE_HOME/shardwright` or
            `~/.cache/shardwright`.
        cache_bytes: limit on the files in the cache: the least recently used are evicted first, open ones never. None
            for no limit.
        remote: how to fetch from a URL.

    Raises:
        FileNotFoundError: there is no manifest.
        KeyError: it has no such split; the message lists its splits.
        DamageError: manifest, a shard or the one index of an older split differs from what was written; the message
            names it. The first read of a sample raises it for the index of its shard.
        ConnectionError, TimeoutError, PermissionError: the URL cannot be fetched; all are OSError, as is a full disk or
            cache. The first read of a shard raises them too.
        ValueError: `cache_bytes` is too small for one shard, or for the index of an older split and one shard.
        ImportError: fsspec, or what it needs for this protocol, is not installed.
    """

    def __init__(  # noqa: PLR0913 (all but the first two by keyword)
        self,
        root: str | Path,
        split: str,
        *,
        access: Access = "map",
        cache: str | Path | None = None,
        cache_bytes: int | None = None,
        remote: Remote | None = None,
    ) -> None:
        self.split = split
        self.access = access
        self._options = AccessOptions(access, cache, cache_bytes, remote)
        self._root, location = open_location(root, self._options)
        self._location_name = location.name
        self._name = f"{location.name}/{split}"
        self.manifest: Manifest = location.read_manifest()
        if split not in self.manifest.splits:
            raise KeyError(f"{location.name}: no split {split!r}, there are {sorted(self.manifest.splits)}")
        self._index = location.open_index(split, self.manifest)
        self._keys: NDArray[np.bytes_] = self._index.rows["key"]
        self._shards = self.manifest.splits[split].shards
        self._files = location.open_files(split, self._shards)
        self.is_mapped = isinstance(self._files, MappedFiles)
        self._offsets = plan_offsets(self.fields, self._shards, self._files.starts, self._index.rows)
        self._layout = self._offsets.layout
        self._members = MemberChecks(self._name, self._shards, self._offsets, self._index.rows)
        self._checked = np.zeros((len(self._layout.sizes), len(self)), np.bool_)
        self._all_checked = np.zeros(len(self), np.bool_)  # one lookup instead of one for each field

    @staticmethod
    def from_webdataset(  # noqa: PLR0913 (all but the first by keyword)
        urls: "Urls",
        *,
        decode: "Decode" = "auto",
        members: "Members" = None,
        incomplete: Literal["error", "drop"] = "error",
        cache: str | Path | None = None,
        decompress: bool = False,
        access: Access = "map",
        indexing: "Indexing | None" = None,
    ) -> "ForeignDataset":
        """Open WebDataset shards of any origin, with the order, resuming and integrity of this project's own shards.

        The first opening reads each shard once and writes an index; later ones read only the index. Consecutive members
        with one key form a sample, by webdataset's rules: the key is the folder and the name up to its first dot, the
        suffix is the rest in lower case. A batch has the members under their suffixes: integers (`cls`), and NPY arrays
        or images of one size in all samples, as one array, everything else as a list.

        The crc32 of each member is checked when it is first delivered. No content of a shard is executed or unpickled.

        Args:
            urls: a folder, a file, a pattern such as `shards/train-{000000..000099}.tar` or `shards/*.tar`, or several
                of these, in a list or as `a.tar::b.tar`.
            decode: "auto" decodes by suffix: jpg, jpeg, png, webp to uint8 RGB; wav, flac, ogg to `Sound`; txt to
                str; json to its value; npy to an array, npz to a dict of them; cls to int64; all else stays bytes. None
                gives bytes of all. A dict has your own functions from bytes, by suffix (`{"mask.png": f}`) or by the
                part after its last dot: their results are a list, and other suffixes are decoded as by "auto".
            members: the suffixes that a sample must have and that a batch contains; or a dict from the name in a batch
                to a suffix, or to several of which a sample has one: `{"image": ("jpg", "png"), "label": "cls"}`. None:
                all suffixes of the shards.
            incomplete: "error" raises if samples lack a member or have one twice, and shows the first; "drop" omits
                these samples and lists them in `dropped`.
            cache: the folder for the index. None: `.shardwright-index` beside the shards if `shardwright index` wrote
                one there, else the user's cache folder.
            decompress: allow shards that are compressed with gzip or Zstandard (`.tar.gz`, `.tgz`, `.tar.zst`): each is
                decompressed once, into a folder of the cache, at most to `Limits.decompressed_bytes`.
            access: see `ShardDataset`.
            indexing: threads and limits, see `Indexing`.

        Raises:
            FileNotFoundError: no shard matches.
            FormatError: a shard is not a tar, is compressed and may not be decompressed, or contains something that is
                refused; or samples are incomplete.
            DamageError: a shard is truncated or damaged, or not the one that was indexed; the message names it and says
                how to index it again.
            KeyError: no member has a suffix of `members`.
        """
        from shardwright.webdataset.build_index import DEFAULT_INDEXING
        from shardwright.webdataset.dataset import ForeignDataset

        return ForeignDataset(
            urls,
            decode=decode,
            members=members,
            incomplete=incomplete,
            cache=cache,
            decompress=decompress,
            access=access,
            indexing=indexing or DEFAULT_INDEXING,
        )

    @property
    def root(self) -> Path:
        """The folder with `dataset.json`.

        Raises:
            FileNotFoundError: the dataset is at a URL.
        """
        if isinstance(self._root, str):
            raise FileNotFoundError(f"{self._location_name}: the dataset is at a URL; it has no local folder")
        return self._root

    @property
    def fields(self) -> Mapping[str, Field]:
        """The fields of each sample, in the order of the members."""
        return self.manifest.fields

    @property
    def classes(self) -> tuple[str, ...] | None:
        """The class names that `label` is an index into, or None."""
        return self.manifest.classes

    @property
    def hash(self) -> str:
        """The hash of the dataset's content, see `Manifest.hash`."""
        return self.manifest.hash

    def __len__(self) -> int:
        return len(self._index.rows)

    def gather(self, indices: Indices, context: ReadContext = DEFAULT_CONTEXT) -> Batch:
        """Return a batch: for each field an array (batch, *shape), and under `key` a list of str.

        Raises:
            IndexError, TypeError, DamageError: see `SampleSource.gather`.
            ModuleNotFoundError: a field is encoded as JPEG, and neither simplejpeg nor OpenCV is installed.
        """
        rows = resolve_rows(indices, len(self), self.split)
        self._index.load(self._offsets.find_shards(rows))
        starts, offsets, _ = self._offsets.locate(rows)
        files = context.files or self._files
        checked = bool(self._all_checked[rows].all())
        batch: Batch = {"key": [decode_key(key) for key in self._keys[rows].tolist()]}
        for member, (name, field) in enumerate(self.fields.items()):
            if context.fields is None or name in context.fields:
                at = starts + offsets[member]
                if field.varies:
                    batch[name] = self._decode_images(rows, name, context)
                    continue
                out = context.allocate(len(rows), field.nbytes)
                if checked and files.checked_once:
                    block = files.gather(at + len(field.header), field.nbytes, out)
                if not (checked and files.checked_once):  # False once a read found that a file was replaced
                    block = self._gather_checked(rows, member, at, files, out)
                batch[name] = block.view(field.storage).reshape(len(rows), *field.shape)
        if context.fields is None and files.checked_once:
            self._all_checked[rows] = True
        return batch

    def meta(self, index: SupportsIndex) -> dict[str, Any]:
        """Return the metadata that was written with the sample.

        Raises:
            IndexError, DamageError: see `SampleSource.gather`.
        """
        rows = resolve_rows([operator.index(index)], len(self), self.split)
        self._index.load(self._offsets.find_shards(rows))
        row, (starts, offsets, _) = int(rows[0]), self._offsets.locate(rows)
        start = int((starts + offsets[-1])[0])
        content = self._files.read(start, self._shards[self._offsets.find_shards(row)].meta_bytes)
        if not (self._files.checked_once and self._checked[-1, row]):
            self._members.check(row, -1, compute_crc32(content))
            self._checked[-1, row] = True
        meta: dict[str, Any] = decode_json(content)
        return meta

    def check_contents(self, name: str) -> None:
        """See `SampleSource.check_contents`."""
        if name not in self.fields:
            raise KeyError(f"{self!r}: no field {name!r}, there are {list(self.fields)}")

    def read_contents(self, indices: Indices, name: str, context: ReadContext = DEFAULT_CONTEXT) -> Iterator[Content]:
        """See `SampleSource.read_contents`."""
        self.check_contents(name)
        rows = resolve_rows(indices, len(self), self.split)
        self._index.load(self._offsets.find_shards(rows))
        starts, offsets, sizes = self._offsets.locate(rows)
        member, field, files = list(self.fields).index(name), self.fields[name], context.files or self._files
        bytes_each = np.asarray(sizes[member]) if field.varies else np.full(len(rows), len(field.header) + field.nbytes)
        contents = files.read_ranges(starts + offsets[member], bytes_each)
        for row, content in zip(rows.tolist(), contents, strict=True):
            if not (files.checked_once and self._checked[member, row]):
                self._members.check(row, member, compute_crc32(content.data))
                self._checked[member, row] = files.checked_once
            yield content

    def find_sizes(self, name: str) -> NDArray[np.int64]:
        """See `SampleSource.find_sizes`; reads the indexes of all shards."""
        self.check_contents(name)
        if not self.fields[name].varies:
            raise FormatError(f"{self!r}: all files of {name!r} have one size; name the field with its lengths instead")
        self._index.load_all()
        _, _, sizes = self._offsets.locate(np.arange(len(self)))
        return np.asarray(sizes[list(self.fields).index(name)])

    def describe_damage(self, row: int, name: str, what: str) -> DamageError:
        """See `SampleSource.describe_damage`."""
        (number,) = resolve_rows([row], len(self), self.split).tolist()
        return self._members.describe_damage(number, list(self.fields).index(name), what)

    @property
    def keys(self) -> NDArray[np.bytes_]:
        """The keys of the samples in order, S64 (samples,), ASCII; reads the indexes of all shards on first access.

        Raises:
            DamageError: an index is damaged.
        """
        self._index.load_all()
        return self._keys

    def iterate_keys(self) -> Iterator[tuple[str, NDArray[np.bytes_]]]:
        """Yield each shard's name with its keys, S64 (samples,), in order: one index is in memory at a time.

        Raises:
            DamageError: an index is damaged.
        """
        for shard, index in zip(self._shards, self._index.iterate(), strict=True):
            yield shard.name, index["key"]

    def find_key(self, index: SupportsIndex) -> str:
        """See `SampleSource.find_key`."""
        rows = resolve_rows([operator.index(index)], len(self), self.split)
        self._index.load(self._offsets.find_shards(rows))
        return decode_key(self._keys[rows[0]])

    def find_sample(self, key: str) -> int:
        """See `SampleSource.find_sample`; reads one index after another.

        Raises:
            KeyError: there is none.
            DamageError: an index before that of the sample is damaged.
        """
        first, wanted = 0, key.encode("ascii", "replace")  # no key has a question mark
        for _, keys in self.iterate_keys():
            found = np.flatnonzero(keys == wanted)
            if len(found):
                return first + int(found[0])
            first += len(keys)
        raise KeyError(f"{self!r}: no sample {key!r}")

    def find_shard(self, index: SupportsIndex) -> str:
        """Return the name of the shard that holds a sample.

        Raises:
            IndexError: the number is out of range.
        """
        rows = resolve_rows([operator.index(index)], len(self), self.split)
        return self._shards[int(self._offsets.find_shards(rows)[0])].name

    def cut_blocks(self, size: int) -> NDArray[np.int64]:
        """See `SampleSource.cut_blocks` and `SampleOffsets.cut_blocks`."""
        return self._offsets.cut_blocks(size)

    def open_window(self, rows: NDArray[np.int64]) -> FileSet:
        """See `SampleSource.open_window`; members are checked at each delivery from it.

        Samples of shards with a damaged index are left out: reading them raises its error.
        """
        rows = np.sort(rows)
        rows = rows[self._index.find_intact(self._offsets.find_shards(rows))]
        starts, *_ = self._offsets.locate(rows)
        return self._files.load(starts, self._offsets.compute_strides(rows))

    def close(self) -> None:
        """Close the files. Arrays that were returned stay valid; further reads raise."""
        self._index.close()
        self._files.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (type(self), self._root, self.split, self._options, self.hash)

    def __repr__(self) -> str:
        return f"ShardDataset({self._location_name!r}, {self.split!r}): {len(self)} samples, {', '.join(self.fields)}"

    def _decode_images(self, rows: NDArray[np.int64], name: str, context: ReadContext) -> NDArray[np.uint8]:
        """Decode the JPEG files of a field: uint8 (batch, *shape)."""
        images = allocate_rows(self.fields[name], len(rows), context.allocate)
        for row, image, content in zip(rows.tolist(), images, self.read_contents(rows, name, context), strict=True):
            try:
                decode_jpeg(np.frombuffer(content, np.uint8), image.shape, image)
            except ValueError as error:
                raise self.describe_damage(row, name, str(error)) from error
        return images

    def _gather_checked(
        self,
        rows: NDArray[np.int64],
        member: int,
        starts: NDArray[np.int64],
        files: FileSet,
        out: NDArray[np.uint8] | None,
    ) -> NDArray[np.uint8]:
        """Gather the arrays of one member, uint8 (batch, bytes), and check them where this is their first delivery."""
        head = self._layout.heads[member]
        sizes = len(head), self._layout.sizes[member] - len(head)
        found = gather_checked(files, starts, sizes, ~self._checked[member, rows], out)
        checked = rows[found.rows]
        expected = self._index.rows["crc32"][checked, member]
        if not (np.array_equal(found.crc32, expected) and found.have_head(head)):
            self._members.refuse(checked, member, found)
        if files.checked_once:  # a window may have read another file of the same name
            self._checked[member, checked] = True
        return found.values


def _reopen(
    kind: type[ShardDataset], root: str | Path, split: str, options: AccessOptions, expected: str
) -> ShardDataset:
    data = kind(root, split, **vars(options))
    if data.hash != expected:
        data.close()
        raise DamageError(
            f"{data!r}: its hash is {data.hash}, and {expected} was pickled; restore the dataset that was open before"
        )
    return data
