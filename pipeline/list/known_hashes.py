"""Keep the hashes of files by what the system says of them, so that only new and changed files are read."""

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.inputs.params import SourceParams
from pipeline.list.walk_folder import STATE
from pipeline.tables.columns import Columns, build_schema
from pipeline.tables.database import Database

if TYPE_CHECKING:
    import pyarrow as pa

KNOWN: Columns = {"file": "string", **STATE, "hashed_ns": "int64", "sha256": "hash"}
"""`hashed_ns`: by the clock, before the file was read."""

YOUNG_NS = 2_000_000_000
"""A file that changed so shortly before it was read may change again without another time: file systems count in steps
of up to two seconds (FAT; ext3 and NFS one). It is read again in the next run."""


class KnownHashes:
    """The hashes of the files of a source, in a file of the cache.

    Args:
        cache: the folder `run.cache`.
        root: of the files, without links.
        source: which of the files there it names.
    """

    def __init__(self, cache: Path, root: Path, source: SourceParams) -> None:
        name = hashlib.sha256(f"{os.fsencode(root)!r} {source.kind} {source.path}".encode()).hexdigest()[:32]
        self._path = cache / "listed" / f"{name}.arrow"

    def read(self) -> "pa.Table":
        """Return the table `KNOWN`, without young files; without rows where there is no file or it is damaged."""
        import pyarrow as pa
        import pyarrow.compute as pc

        schema = build_schema(KNOWN)
        try:
            with pa.memory_map(os.fspath(self._path)) as file:
                table = pa.ipc.open_file(file).read_all()
        except (OSError, pa.ArrowException):
            return schema.empty_table()
        if table.schema != schema:
            return schema.empty_table()
        changed = pc.max_element_wise(table["mtime_ns"], table["ctime_ns"])
        return table.filter(pc.less(changed, pc.subtract(table["hashed_ns"], YOUNG_NS)))

    def write(self, database: Database, sql: str) -> None:
        """Replace the table by the rows of a query."""
        import pyarrow as pa

        schema = build_schema(KNOWN)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        partial = self._path.with_name(f".{self._path.name}-{os.getpid()}")
        with pa.ipc.new_file(partial, schema) as writer:
            for batch in database.read(sql):
                writer.write_batch(batch.select(schema.names).cast(schema))
        partial.rename(self._path)
