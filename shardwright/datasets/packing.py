"""Plan which documents share a row, so that rows of a fixed length are filled with whole documents.

Documents longer than a row are cut into pieces of a row each, and the rest. Rows are planned for lengths, not for
documents: from the longest length on, each piece goes to the row with the least space that still has room (best-fit
decreasing: Johnson 1973, "Near-optimal bin packing algorithms"). All pieces of one length are placed together, as in
the histogram packing of Krell et al. 2021, "Efficient sequence packing without cross-contamination", so that the time
depends on the number of lengths.

Pieces of one length can take each other's place: in each epoch they are permuted, by a keyed permutation that computes
the documents of any row by itself. So all epochs have the same number of rows, nothing is planned when an epoch begins,
and nothing is stored.
"""

from bisect import bisect_left, insort
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from shardwright.datasets.permutation import permute_groups


class Pieces(NamedTuple):
    """Pieces of documents in rows, row by row; all int64 (pieces,).

    Attributes:
        rows: index into the rows that were asked for.
        offsets: where the piece begins in its row.
        documents: row numbers of the documents.
        starts: where the piece begins in its document.
        lengths: of the pieces, at least 1.
    """

    rows: NDArray[np.int64]
    offsets: NDArray[np.int64]
    documents: NDArray[np.int64]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]


class Packing:
    """The rows of documents: a pure function of their lengths, the row's, seed and epoch.

    It takes 16 bytes a document.

    Args:
        lengths: of the documents, int64 (documents,), each at least 0; empty ones are in no row.
        size: of a row, at least 1.
    """

    def __init__(self, lengths: NDArray[np.int64], size: int) -> None:
        self._size = size
        counts = -(-lengths // size)
        self._piece_ends = np.cumsum(counts)
        pieces = np.full(int(counts.sum()), size)
        cut = counts > 0
        pieces[self._piece_ends[cut] - 1] = (lengths - (counts - 1) * size)[cut]
        self._by_length = np.argsort(pieces, kind="stable")
        self._of_length = np.bincount(pieces, minlength=size + 1)
        self._firsts = np.cumsum(self._of_length) - self._of_length
        patterns = pack_lengths(self._of_length, size)
        rows = np.array([count for _, count in patterns], np.int64)
        self._row_ends = np.cumsum(rows)
        self._row_firsts = self._row_ends - rows
        slots = np.array([len(items) for items, _ in patterns], np.int64)
        self._slot_firsts = np.append(0, np.cumsum(slots))
        self._slot_lengths = np.array([length for items, _ in patterns for length in items], np.int64)
        # The rows of a pattern take as many pieces of each length, one after another, from those in order of length.
        taken, order = np.repeat(rows, slots), np.argsort(self._slot_lengths, kind="stable")
        self._slot_places = np.empty_like(taken)
        self._slot_places[order] = np.cumsum(taken[order]) - taken[order]

    def __len__(self) -> int:
        """Rows in an epoch."""
        return int(self._row_ends[-1]) if len(self._row_ends) else 0

    def measure_padding(self) -> float:
        """Return the share of the rows that no document fills."""
        filled = int((self._of_length * np.arange(self._size + 1)).sum())
        return 1 - filled / max(1, len(self) * self._size)

    def find_pieces(self, rows: NDArray[np.int64], key: tuple[int, int] | None = None) -> Pieces:
        """Return what is in these rows.

        Args:
            rows: int64 (any,), each 0 … len-1.
            key: seed and epoch, of which pieces of one length change places; None leaves them.
        """
        patterns = np.searchsorted(self._row_ends, rows, side="right")
        firsts = self._slot_firsts[patterns]
        counts = self._slot_firsts[patterns + 1] - firsts
        index = np.repeat(np.arange(len(rows)), counts)
        before = np.cumsum(counts) - counts
        slots = np.arange(len(index)) + (firsts - before)[index]
        lengths = self._slot_lengths[slots]
        places = self._slot_places[slots] + (rows - self._row_firsts[patterns])[index]
        if key is not None:
            first = self._firsts[lengths]
            places = first + permute_groups(places - first, self._of_length[lengths], lengths, *key)
        numbers = self._by_length[places]
        documents = np.searchsorted(self._piece_ends, numbers, side="right")
        first_pieces = np.where(documents > 0, self._piece_ends[documents - 1], 0)
        ends = np.cumsum(lengths)
        offsets = ends - lengths - (ends - lengths)[before[index]]
        return Pieces(index, offsets, documents, (numbers - first_pieces) * self._size, lengths)


def pack_lengths(counts: NDArray[np.int64], size: int) -> list[tuple[tuple[int, ...], int]]:
    """Return the rows that hold all pieces, as patterns: the lengths in a row, and how many rows are so.

    Args:
        counts: pieces of each length, int64 (size+1,); none of length 0.
        size: of a row.
    """
    spaces: list[int] = []  # of rows that have room, ascending, each once
    open_rows: dict[int, list[tuple[tuple[int, ...], int]]] = {}
    full: list[tuple[tuple[int, ...], int]] = []

    def add(items: tuple[int, ...], rows: int, space: int) -> None:
        if not space:
            full.append((items, rows))
        elif rows:
            if space not in open_rows:
                insort(spaces, space)
            open_rows.setdefault(space, []).append((items, rows))

    for length in np.flatnonzero(counts)[::-1].tolist():
        left = int(counts[length])
        while left:
            at = bisect_left(spaces, length)
            if at == len(spaces):
                each = size // length
                add((length,) * each, left // each, size - each * length)
                add((length,) * (left % each), min(1, left % each), size - left % each * length)
                break
            space = spaces[at]
            items, rows = open_rows[space].pop()
            if not open_rows[space]:
                del open_rows[space], spaces[at]
            placed = min(rows, left)
            add(items, rows - placed, space)
            add((*items, length), placed, space - length)
            left -= placed
    return [pattern for pattern in full if pattern[1]] + [row for space in spaces for row in open_rows[space]]
