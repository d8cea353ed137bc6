"""A split of a dataset, read at random: any sample, any batch, in any order."""

import math
import operator
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from shardwright.datasets.base import DEFAULT_CONTEXT, Batch, Indices, ReadContext, SampleSource, number_rows
from shardwright.errors import DamageError
from shardwright.format.canonical_json import decode_json
from shardwright.format.checksum import compute_crc32
from shardwright.format.field import Field
from shardwright.format.image_header import check_jpeg
from shardwright.format.index import decode_key, read_index
from shardwright.format.jpeg import decode_jpeg
from shardwright.format.manifest import Manifest
from shardwright.remote.location import Access, AccessOptions, open_location
from shardwright.remote.settings import Remote
from shardwright.storage.file_set import FileSet
from shardwright.storage.sample_offsets import plan_offsets

if TYPE_CHECKING:
    from shardwright.webdataset.build_index import Indexing
    from shardwright.webdataset.columns import Decode, Members
    from shardwright.webdataset.dataset import ForeignDataset
    from shardwright.webdataset.expand_urls import Urls


class ShardDataset(SampleSource):
    """One split of a dataset, open for reading; a context manager, and a map-style dataset to PyTorch.

    Opening checks the manifest's hash, the index's sha256, and that every shard is there in its full size.
    Each member's crc32 is checked when it is first delivered; what the operating system reads again later is
    not checked again. Arrays are copies: they stay when the dataset closes, and may be written to. Pickling opens
    the files anew, and refuses another dataset that has taken their place.

    At a URL, manifest and index are fetched when it is opened, shards when they are read, and whole. They are kept in
    the cache, and a shard's sha256 is checked when it is fetched and each time that a process opens it there. Reading
    at random is for a cache that holds the whole split; with less, read block by block, or the same shards are fetched
    again and again. What the server is asked for, and how often, is `remote`'s to say.

    Args:
        root: the folder with `dataset.json`, or its URL, of any kind that fsspec knows.
        split: such as "train".
        access: "map" reads through memory maps: the fastest, and a shard that somebody truncates while it is open ends
            the process by a signal. "pread" reads with system calls: a shard that is truncated is a `DamageError`. What
            was fetched from a URL is always read with system calls.
        cache: the folder for what is fetched from a URL; processes may share it. None: `$XDG_CACHE_HOME/shardwright`
            or `~/.cache/shardwright`.
        cache_bytes: of all files in the cache; what was not used for longest goes first, and nothing that is open. None
            for no limit.
        remote: how to fetch from a URL.

    Raises:
        FileNotFoundError: there is no manifest.
        KeyError: it has no such split; the message names those it has.
        DamageError: manifest, index or a shard is not what was written; the message names it.
        ConnectionError, TimeoutError, PermissionError: what is at the URL cannot be fetched; all are OSError, as is a
            disk or cache without room. Reading a shard for the first time raises them too.
        ValueError: `cache_bytes` is too little for the index and one shard.
        ImportError: fsspec, or what it needs for this kind of URL, is not installed.
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
        self._root, place = open_location(root, self._options)
        self._place_name = place.name
        self._name = f"{place.name}/{split}"
        self.manifest: Manifest = place.read_manifest()
        if split not in self.manifest.splits:
            raise KeyError(f"{place.name}: no split {split!r}, there are {sorted(self.manifest.splits)}")
        records = self.manifest.splits[split]
        index = place.find_index(split, records)
        self._index = read_index(index, self.fields, records)
        self._keys: NDArray[np.bytes_] = np.asarray(self._index)["key"]  # each slice of a memmap is one, and costs
        self._shards = records.shards
        self._files = place.open_files(split, records.shards)
        self._places = plan_offsets(self.fields, self._shards, self._files.starts, np.asarray(self._index))
        self._layout = self._places.layout
        self._checked = np.zeros((len(self._layout.sizes), len(self)), np.bool_)
        self._whole = np.zeros(len(self), np.bool_)  # all fields checked: one look instead of one a field

    @staticmethod
    def from_webdataset(  # noqa: PLR0913 (all but the first by keyword)
        urls: "Urls",
        *,
        decode: "Decode" = "auto",
        members: "Members" = None,
        incomplete: Literal["error", "drop"] = "error",
        cache: str | Path | None = None,
        access: Access = "map",
        indexing: "Indexing | None" = None,
    ) -> "ForeignDataset":
        """WebDataset tars that anybody wrote, with order, resume and integrity as for our own.

        The first opening reads each shard once and writes an index; later ones read the index alone. Members of one
        key that stand together are a sample, as webdataset has it: the key is the folder and the name up to its first
        dot, the suffix the rest in lower case. A batch has the members under their suffixes: whole numbers (`cls`) and
        NPY arrays or pictures of one size in all samples as one array, everything else as a list.

        Each member's crc32 is checked when it is first delivered. Nothing that a shard holds is run or unpickled.

        Args:
            urls: a folder, a file, a pattern such as `shards/train-{000000..000099}.tar` or `shards/*.tar`, or a list.
            decode: "auto" decodes by suffix: jpg, jpeg, png, webp to uint8 RGB; wav, flac, ogg to `Sound`; txt to
                str; json to its value; npy to an array; cls to int64; all else stays bytes. None gives bytes of all. A
                dict has functions of your own, from bytes, by suffix (`{"mask.png": f}`) or by what follows its last
                dot; the others are decoded as by "auto", and what they give is a list.
            members: the suffixes that a sample must have and a batch has; or a dict from the name in a batch to a
                suffix or to several of which a sample has one: `{"image": ("jpg", "png"), "label": "cls"}`. None: all
                that the shards have.
            incomplete: "error" refuses shards with samples that lack a member or have one twice, and shows the first;
                "drop" leaves these samples out and lists them under `dropped`.
            cache: the folder for the index. None: `.shardwright-index` beside the shards if `shardwright index` has put
                it there, else the user's cache folder.
            access: see `ShardDataset`.
            indexing: threads and limits, see `Indexing`.

        Raises:
            FileNotFoundError: there is no such shard.
            FormatError: a shard is no tar, or holds what is refused; samples are not whole.
            DamageError: a shard is cut or damaged, or not the one that was indexed; the message names it and says how
                to index it anew.
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
            raise FileNotFoundError(f"{self._place_name}: not a folder of this machine")
        return self._root

    @property
    def fields(self) -> Mapping[str, Field]:
        """What each sample has, in the order of the members."""
        return self.manifest.fields

    @property
    def classes(self) -> tuple[str, ...] | None:
        """The names that `label` counts through, or None."""
        return self.manifest.classes

    @property
    def hash(self) -> str:
        """The dataset's name by its content, see `Manifest.hash`."""
        return self.manifest.hash

    def __len__(self) -> int:
        return len(self._index)

    def gather(self, indices: Indices, reading: ReadContext = DEFAULT_CONTEXT) -> Batch:
        """A batch: for each field an array (batch, *shape), freshly allocated, and under `key` a list of str.

        Raises:
            IndexError, TypeError, DamageError: see `SampleSource.gather`.
            ModuleNotFoundError: a field has JPEG files, and OpenCV is not installed.
        """
        rows = number_rows(indices, len(self), self.split)
        starts, offsets, sizes = self._places.locate(rows)
        files = reading.files or self._files
        known = bool(self._whole[rows].all())
        batch: Batch = {"key": [decode_key(key) for key in self.keys[rows].tolist()]}
        for member, (name, field) in enumerate(self.fields.items()):
            if reading.fields is None or name in reading.fields:
                at = starts + offsets[member]
                if field.varies:
                    contents = files.read_ranges(at, np.asarray(sizes[member]))
                    batch[name] = self._decode_block(rows, member, contents, reading)
                    continue
                block = files.gather(at + len(field.header), field.nbytes, reading.allocate(len(rows), field.nbytes))
                if not (known and files.checked_once):  # which a reading may have changed
                    self._check_block(rows, member, block, at, files)
                batch[name] = block.view(field.storage).reshape(len(rows), *field.shape)
        if reading.fields is None and files.checked_once:
            self._whole[rows] = True
        return batch

    def meta(self, index: SupportsIndex) -> dict[str, Any]:
        """What was written beside the sample's arrays.

        Raises:
            IndexError, DamageError: see `SampleSource.gather`.
        """
        rows = number_rows([operator.index(index)], len(self), self.split)
        row, (starts, offsets, _) = int(rows[0]), self._places.locate(rows)
        start = int((starts + offsets[-1])[0])
        content = self._files.read(start, self._shards[self._places.find_shards(row)].meta_bytes)
        if not (self._files.checked_once and self._checked[-1, row]):
            self._check_member(row, -1, compute_crc32(content))
            self._checked[-1, row] = True
        meta: dict[str, Any] = decode_json(content)
        return meta

    @property
    def keys(self) -> NDArray[np.bytes_]:
        """The samples' keys in order, S64 (samples,), ASCII; read from disk when it is looked at."""
        return self._keys

    def find_shard(self, index: SupportsIndex) -> str:
        """The name of the shard that holds a sample.

        Raises:
            IndexError: there is no such sample.
        """
        rows = number_rows([operator.index(index)], len(self), self.split)
        return self._shards[int(self._places.find_shards(rows)[0])].name

    def cut_blocks(self, size: int) -> NDArray[np.int64]:
        """See `SampleSource.cut_blocks` and `Places.cut_blocks`."""
        return self._places.cut_blocks(size)

    def open_window(self, rows: NDArray[np.int64]) -> FileSet:
        """See `SampleSource.open_window`; each delivery from it is checked."""
        rows = np.sort(rows)
        starts, *_ = self._places.locate(rows)
        return self._files.load(starts, self._places.measure(rows))

    def close(self) -> None:
        """Let go of the files. Arrays that were delivered stay; reading more is an error."""
        self._files.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (type(self), self._root, self.split, self._options, self.hash)

    def __repr__(self) -> str:
        return f"ShardDataset({self._place_name!r}, {self.split!r}): {len(self)} samples, {', '.join(self.fields)}"

    def _decode_block(
        self, rows: NDArray[np.int64], member: int, contents: Sequence[NDArray[np.uint8]], reading: ReadContext
    ) -> NDArray[np.uint8]:
        """The pictures in the contents of one member: uint8 (batch, *shape), checked where they are delivered for the
        first time."""
        shape, files = self._layout.pictures[member], reading.files or self._files
        assert shape is not None
        size = math.prod(shape)
        block = reading.allocate(len(rows), size)
        block = np.empty((len(rows), size), np.uint8) if block is None else block
        pictures = block.reshape(len(rows), *shape)
        for at, (row, content) in enumerate(zip(rows.tolist(), contents, strict=True)):
            try:
                if not (files.checked_once and self._checked[member, row]):
                    self._check_member(row, member, compute_crc32(content.data))
                    check_jpeg(content.tobytes(), shape)
                pictures[at] = decode_jpeg(content, shape)
            except ValueError as error:
                raise self._blame(row, member, str(error)) from error
        if files.checked_once:
            self._checked[member, rows] = True
        return pictures

    def _check_block(
        self, rows: NDArray[np.int64], member: int, block: NDArray[np.uint8], starts: NDArray[np.int64], files: FileSet
    ) -> None:
        """Check what has just been copied of one member, where it is delivered for the first time."""
        pending = np.flatnonzero(~self._checked[member, rows]) if files.checked_once else np.arange(len(rows))
        if not len(pending):
            return
        wanted = self._layout.heads[member]
        heads = files.gather(starts[pending], len(wanted))
        begun = compute_crc32(wanted)
        for at, head in zip(pending.tolist(), heads, strict=True):
            if head.tobytes() != wanted:
                self._check_member(int(rows[at]), member, compute_crc32(block[at], compute_crc32(head)))
                raise self._blame(int(rows[at]), member, "its NPY header is not that of the field in the manifest")
            self._check_member(int(rows[at]), member, compute_crc32(block[at], begun))
        if files.checked_once:  # a window may have read another file by the same name
            self._checked[member, rows[pending]] = True

    def _check_member(self, row: int, member: int, found: int) -> None:
        wanted = int(self._index["crc32"][row, member])
        if found != wanted:
            raise self._blame(row, member, f"its crc32 is {found:08x}, the index says {wanted:08x}")

    def _blame(self, row: int, member: int, what: str) -> DamageError:
        """The error that says what is wrong with a member."""
        shard, key = self._shards[int(self._places.find_shards(row))].name, decode_key(self.keys[row])
        offset = self._places.find_offset(row, member)
        suffix = self._layout.suffixes[member]
        return DamageError(
            f"{self._name}/{shard}: sample {key!r}, {suffix} at byte {offset}: {what}",
            shard=shard,
            sample=key,
            field=suffix.partition(".")[0],
            offset=offset,
        )


def _reopen(
    kind: type[ShardDataset], root: str | Path, split: str, options: AccessOptions, wanted: str
) -> ShardDataset:
    data = kind(root, split, **vars(options))
    if data.hash != wanted:
        data.close()
        raise DamageError(f"{data!r}: this is not the dataset that was open before, its hash is {data.hash}")
    return data
