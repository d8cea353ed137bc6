"""Keep what ranges of the listing gave in the item cache, and use it again where no file of a range has changed: then
none of them is read. The listing has the hashes, or the versions, of all files."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.incremental.object_store import ObjectStore
from pipeline.incremental.pack_index import ENTRY, PIECE, PackIndex
from pipeline.incremental.published_tar import name_tar, reuse_tar

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class RangeTables:
    """The tables of a range by name, each as an Arrow file, and how many files are without items."""

    tables: Mapping[str, bytes]
    dropped: int


@dataclass(frozen=True)
class RangeCache:
    """The cache of one run.

    Attributes:
        objects: of the item cache.
        method: a hash of how files are read.
    """

    objects: ObjectStore
    method: bytes

    def name(self, rows: "pa.RecordBatch") -> str | None:
        """Return the name of what the range with these rows gives; None if one has neither the hash of its file nor
        that of the archive that it is in, nor a version."""
        import pyarrow.compute as pc

        hashed = pc.or_(pc.is_valid(rows["sha256"]), pc.is_valid(rows["container_sha256"]))
        if not pc.all(pc.or_(hashed, pc.greater(pc.coalesce(rows["version"], ""), ""))).as_py():
            return None
        digest = hashlib.sha256(self.method)
        for name, column in zip(rows.schema.names, rows.columns, strict=True):
            values = column.null_count if column.null_count == len(column) else column.to_pylist()
            digest.update(f"{name} {values!r}\n".encode())
        return name_tar(digest)

    def read(self, name: str, tar: Path) -> RangeTables | None:
        """Return the tables of a range and give its tar, if it has one, the name `tar`; None where the cache has it not
        or damaged."""
        rows = reuse_tar(self.objects, name, tar)
        if rows is None:
            return None
        if not rows.size:
            tar.unlink()
        tables, start = {}, 0
        for table, size in rows.about["tables"]:
            tables[table] = rows.extra[start : start + size]
            start += size
        return RangeTables(tables, rows.about["dropped"])

    def store(self, name: str, tar: Path, found: RangeTables) -> None:
        """Keep the tables of a range, and its tar, which is missing where nothing was stored."""
        whole = tar if tar.exists() else tar.with_suffix(".empty")
        if whole != tar:
            whole.touch()
        with whole.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        sizes = [[table, len(content)] for table, content in found.tables.items()]
        about = {"sha256": sha256, "tables": sizes, "dropped": found.dropped}
        none = np.empty(0, ENTRY), np.empty(0, PIECE)
        rows = PackIndex(whole.stat().st_size, *none, about=about, extra=b"".join(found.tables.values()))
        self.objects.adopt(name, whole, rows)
        if whole != tar:
            whole.unlink()
