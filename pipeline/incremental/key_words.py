"""Cache keys in tables: as four numbers of 64 bits, since joins and sorts of blobs take three times as long."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.tables.columns import HASH_BYTES, build_hashes

if TYPE_CHECKING:
    import pyarrow as pa

NAMES = ("key0", "key1", "key2", "key3")
KEY = ", ".join(NAMES)
"""The columns, for SQL."""

KEY_COLUMNS = ", ".join(f"{name} UBIGINT" for name in NAMES)

KeyWords = NDArray[np.uint64]
"""Cache keys or other hashes of 32 bytes, uint64 (n, 4)."""


def view_words(hashes: NDArray[Any]) -> KeyWords:
    """Return hashes, S32 (n,) or uint8 (n, 32), as words."""
    return np.ascontiguousarray(hashes).view(np.uint8).reshape(-1, HASH_BYTES).view(np.uint64)


def build_words(words: KeyWords) -> "dict[str, pa.Array]":
    """Return words as columns of a table."""
    import pyarrow as pa

    return {name: pa.array(np.ascontiguousarray(words[:, number])) for number, name in enumerate(NAMES)}


def join_words(table: "pa.Table") -> "pa.Table":
    """Return a result of SQL with a column `key`, hashes of 32 bytes, in place of its words."""
    words = np.stack([table[name].to_numpy() for name in NAMES], axis=1)
    return table.drop_columns(list(NAMES)).append_column("key", build_hashes(words.view(f"S{HASH_BYTES}")[:, 0]))
