"""Read the files in tars. Those that are compressed are decompressed once, into the work folder."""

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from pipeline.formats.tar_entries import list_tar_entries
from pipeline.ingest.sources.containers import (
    LEAST_TOTAL_BYTES,
    MAX_RATIO,
    Container,
    OpenContainers,
    list_containers,
    list_members,
)
from pipeline.ingest.sources.source import ListedFile, ReadFile, ReadInputs, Source, SourceInputs
from pipeline.tables.drops import Drop, Reason, Rejection

if TYPE_CHECKING:
    import pyarrow as pa

COPY_BYTES = 1 << 20


def _open_zstd(path: Path) -> IO[bytes]:
    import pyarrow as pa

    stream: IO[bytes] = pa.input_stream(str(path), compression="zstd")
    return stream


COMPRESSIONS: dict[bytes, Callable[[Path], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\0": lzma.open,
    b"\x28\xb5\x2f\xfd": _open_zstd,
}
"""How a file is decompressed, by its first bytes."""


def list_tars(inputs: SourceInputs) -> "Iterator[pa.Table | Drop]":
    """Yield the members of all tars; see `list_members`."""
    for container in list_containers("tar", inputs):
        yield from list_tar(container, inputs)


def list_tar(container: Container, inputs: SourceInputs) -> "Iterator[pa.Table | Drop]":
    """Yield the members of a tar, which is decompressed first if need be."""
    with container.path.open("rb") as file:
        start = file.read(max(map(len, COMPRESSIONS)))
    opener = next((opener for magic, opener in COMPRESSIONS.items() if start.startswith(magic)), None)
    plain, fault = container, None
    if opener is not None:
        plain = replace(container, path=inputs.spool / f"{container.sha256.hex()}.tar")
        fault = _decompress(opener, container, plain.path)
    yield from list_members(plain, inputs.params.ignore, list_tar_entries, fault)


def _decompress(opener: Callable[[Path], Any], container: Container, target: Path) -> Rejection | None:
    """Write what a file decompresses to, as far as it goes; return why it does not go to the end."""
    limit = max(LEAST_TOTAL_BYTES, MAX_RATIO * container.size)
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as output:
        try:
            with opener(container.path) as file:
                while block := file.read(COPY_BYTES):
                    if output.tell() + len(block) > limit:
                        detail = "more bytes than an archive of its size may unpack to"
                        return Rejection(Reason.TOO_LARGE, detail, str(output.tell() + len(block)), str(limit))
                    output.write(block)
        except (EOFError, zlib.error, lzma.LZMAError, OSError):
            return Rejection(Reason.UNREADABLE, "its compressed bytes are damaged or cut")
    return None


@contextmanager
def open_tars(inputs: ReadInputs) -> Iterator[ReadFile]:
    """Yield how a member is read."""
    with OpenContainers(inputs) as containers:

        def read(file: ListedFile) -> bytes | Rejection:
            assert file.offset is not None, file.key
            try:
                content = containers.find(file)(file.offset, file.size)
            except OSError:
                return Rejection(Reason.UNREADABLE, "the archive cannot be read")
            return content if len(content) == file.size else Rejection(Reason.UNREADABLE, "the archive is cut")

        yield read


TAR = Source(list_tars, open_tars)
