"""Define the source whose samples are rows of several documents."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from shardwright.datasets.base import SampleSource
from shardwright.datasets.collate import allocate_rows
from shardwright.datasets.lengths import check_each_row_once, find_lengths
from shardwright.datasets.packing import Packing
from shardwright.datasets.read_context import DEFAULT_CONTEXT, Batch, Indices, ReadContext, allocate, resolve_rows
from shardwright.errors import FormatError
from shardwright.format.canonical_json import hash_canonical
from shardwright.format.field import Field

POSITIONS, DOCUMENT = "positions", "document"
READ_DOCUMENTS = 4096
"""Documents that are read at a time where their lengths are not known."""


class Packed(SampleSource):
    """Rows of whole documents, see `SampleSource.pack`.

    Args:
        base: the documents.
        names: fields with a value for each token.
        size: tokens of a row.
        lengths: of the documents, int64 (documents,).
        reshuffle: see `SampleSource.pack`.
    """

    def __init__(
        self, base: SampleSource, names: Sequence[str], size: int, lengths: NDArray[np.int64], reshuffle: bool
    ) -> None:
        self._base = base
        self._names = tuple(names)
        self._size = size
        self._lengths = lengths
        self._reshuffle = reshuffle
        self._packing = Packing(lengths, size)
        self.split = base.split
        self.transforms = base.transforms + reshuffle
        self.is_decoding = base.is_decoding
        self._fields = {name: self._find_field(name) for name in self._names}
        self._fields |= {name: Field("int32", (size,), "T", padding=0) for name in (POSITIONS, DOCUMENT)}

    @property
    def fields(self) -> Mapping[str, Field]:
        """The packed fields, `positions` and `document`, each of the shape (size, …)."""
        return self._fields

    @property
    def classes(self) -> None:
        """None: labels are of documents, not of rows."""
        return None

    @property
    def hash(self) -> str:
        """The hash of the base's hash, the lengths and the arguments."""
        digest = sha256(self._lengths.astype("<i8", copy=False).tobytes()).hexdigest()
        described = {"names": list(self._names), "size": self._size, "reshuffle": self._reshuffle, "lengths": digest}
        return hash_canonical({"packed": described, "of": self._base.hash})

    @property
    def keys(self) -> NDArray[np.bytes_]:
        """The numbers of the rows in decimal digits."""
        return np.arange(len(self)).astype(np.bytes_)

    def __len__(self) -> int:
        return len(self._packing)

    def measure_padding(self) -> float:
        """Return the share of the rows that no document fills."""
        return self._packing.measure_padding()

    def find_key(self, index: SupportsIndex) -> str:
        """Return the number of the row in decimal digits."""
        return str(resolve_rows([index.__index__()], len(self), self.split)[0])

    def gather(self, indices: Indices, context: ReadContext = DEFAULT_CONTEXT) -> Batch:
        """See `SampleSource.gather`.

        Raises:
            FormatError: a document is shorter than its length says; the message names it.
        """
        rows = resolve_rows(indices, len(self), self.split)
        pieces = self._packing.find_pieces(rows, (context.seed, context.epoch) if self._reshuffle else None)
        requested = [name for name in self._fields if context.fields is None or name in context.fields]
        batch: Batch = {name: allocate_rows(self._fields[name], len(rows), context.allocate) for name in requested}
        for name in requested:
            batch[name][:] = self._fields[name].padding or 0
        names = tuple(name for name in self._names if name in requested)
        documents, index = np.unique(pieces.documents, return_inverse=True)
        samples = self._base.read_samples(documents, replace(context, fields=names, allocate=allocate)) if names else []
        previous, number = -1, 0
        for row, offset, document, start, length in zip(
            pieces.rows.tolist(),
            pieces.offsets.tolist(),
            index.tolist(),
            *map(np.ndarray.tolist, pieces[3:]),
            strict=True,
        ):
            number = number + 1 if row == previous else 1
            previous, place = row, slice(offset, offset + length)
            for name in names:
                batch[name][row, place] = self._cut(samples[document], name, start, length)
            if POSITIONS in batch:
                batch[POSITIONS][row, place] = np.arange(length)
            if DOCUMENT in batch:
                batch[DOCUMENT][row, place] = number
        return {"key": [str(row) for row in rows.tolist()], **batch}

    def meta(self, index: SupportsIndex) -> dict[str, Any]:
        """Refuse: a row has several documents.

        Raises:
            FormatError: always.
        """
        raise FormatError(f"{self!r}: a row of documents has no metadata; filter the documents before they are packed")

    def cached(self) -> SampleSource:
        """Return the same rows of the cached documents."""
        return Packed(self._base.cached(), self._names, self._size, self._lengths, self._reshuffle)

    def close(self) -> None:
        """Close the base."""
        self._base.close()

    def __repr__(self) -> str:
        return f"{len(self)} rows of {self._size} of {', '.join(self._names)} of {self._base!r}"

    def _find_field(self, name: str) -> Field:
        """Return the field of a row; one document is read, since values of varying length declare none."""
        value = self._base.read_samples([0], ReadContext(fields=(name,)))[0][name]
        if not isinstance(value, np.ndarray) or not value.ndim:
            raise FormatError(f"{self._base!r}: {name!r} is {value!r:.60}; only arrays with a value a token are packed")
        declared = self._base.fields.get(name)
        padding = declared.padding if declared else None
        return Field(value.dtype.name, (self._size, *value.shape[1:]), padding=padding)

    def _cut(self, sample: Mapping[str, Any], name: str, start: int, length: int) -> NDArray[Any]:
        value: NDArray[Any] = sample[name][start : start + length]
        if len(value) < length:
            raise FormatError(
                f"{name!r} of sample {sample['key']!r} has {len(sample[name])} values, fewer than its length of "
                f"{start + length} or more; correct lengths of pack"
            )
        return value


def pack_documents(
    data: SampleSource,
    names: str | Sequence[str],
    size: int,
    lengths: "str | NDArray[Any] | None" = None,
    reshuffle: bool = True,
) -> Packed:
    """Return the rows of a source's documents. See `SampleSource.pack`."""
    listed = (names,) if isinstance(names, str) else tuple(names)
    if type(size) is not int or size < 1:
        raise ValueError(f"size is {size!r}; it must be at least 1")
    if not listed or len({*listed, POSITIONS, DOCUMENT}) < len(listed) + 2:
        raise ValueError(f"names is {names!r}; it must have each name once, and not {POSITIONS!r} or {DOCUMENT!r}")
    for name in listed if data.names is not None else ():
        if name not in (data.names or ()):
            raise KeyError(f"{data!r}: no field {name!r}, there are {list(data.names or ())}")
    check_each_row_once(data, "pack its sources, and mix the rows")
    by = f"{listed[0]}_length" if lengths is None and f"{listed[0]}_length" in data.fields else lengths
    found = measure_documents(data, listed[0]) if by is None else find_lengths(data, by)
    if not found.any():
        raise FormatError(f"{data!r}: there is no token to pack")
    return Packed(data, listed, size, found, reshuffle)


def measure_documents(data: SampleSource, name: str) -> NDArray[np.int64]:
    """Return the length of each document, int64 (rows,), by reading all of them once."""
    context, count = ReadContext(fields=(name,)), data.count_rows()
    starts = range(0, count, READ_DOCUMENTS)
    parts = (data.read_samples(np.arange(at, min(at + READ_DOCUMENTS, count)), context) for at in starts)
    return np.array([len(sample[name]) for samples in parts for sample in samples], np.int64)
