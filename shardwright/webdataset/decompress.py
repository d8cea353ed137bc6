"""Decompress gzip and Zstandard files as a stream, to their last byte.

Concatenated files of one format (gzip members, Zstandard frames) are one stream. A file that ends early is an error:
Python's and Zstandard's own readers of files give what is there for the whole, or stop at the first member.
"""

import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO, Protocol

READ_BYTES = 1 << 20
FEED_BYTES = 1 << 12
"""Compressed bytes that are decompressed at a time, which bounds the memory for a bomb: four bytes of Zstandard give at
most 128 KiB, so these give 128 MiB; a byte of gzip gives some 1,000."""


class Stream(Protocol):
    """A gzip member or Zstandard frame that is being decompressed, with the interface of `zlib.decompressobj`."""

    @property
    def eof(self) -> bool:
        """Whether its end was reached; its checksum, if it has one, was right."""
        ...

    @property
    def unused_data(self) -> bytes:
        """The bytes after its end."""
        ...

    def decompress(self, data: bytes, /) -> bytes:
        """Return what these bytes decompress to."""
        ...


def _load_gzip() -> tuple[Callable[[], Stream], type[Exception]]:
    return lambda: zlib.decompressobj(16 + zlib.MAX_WBITS), zlib.error


def _load_zstd() -> tuple[Callable[[], Stream], type[Exception]]:
    try:
        import zstandard
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "Zstandard files are decompressed by zstandard, which is not installed: pip install 'shardwright[zstd]'",
            name="zstandard",
        ) from error
    start: Any = zstandard.ZstdDecompressor().decompressobj
    return start, zstandard.ZstdError


LOADERS: Mapping[str, Callable[[], tuple[Callable[[], Stream], type[Exception]]]] = {
    "gzip": _load_gzip,
    "zstd": _load_zstd,
}
"""Functions that import what decompresses a format: it starts a `Stream`, which raises errors of this type."""


PADDED = ("gzip",)
"""Formats whose files may be padded with zeros, as tapes do, which every reader ignores."""


def decompress_file(file: BinaryIO, form: str) -> Iterator[bytes]:
    """Yield the decompressed bytes of a file, in chunks of any size.

    Args:
        file: open at its start; read sequentially.
        form: a key of `LOADERS`.

    Raises:
        ValueError: the file is damaged, ends early, or has other bytes after its end; the message has the offset, up to
            `FEED_BYTES` after the damage.
        ModuleNotFoundError: the library for this format is not installed.
    """
    start, errors = LOADERS[form]()
    stream: Stream | None = None
    end = 0
    while chunk := file.read(READ_BYTES):
        for at in range(0, len(chunk), FEED_BYTES):
            data = chunk[at : at + FEED_BYTES]
            end += len(data)
            while data:
                if stream is None:
                    data = data.lstrip(b"\0") if form in PADDED else data
                    stream = start() if data else None
                    continue
                try:
                    yield stream.decompress(data)
                except errors as error:
                    raise ValueError(f"its {form} data is damaged before byte {end}: {error}") from error
                data, stream = (stream.unused_data, None) if stream.eof else (b"", stream)
    if stream is not None:
        raise ValueError(f"its {form} data ends early, at byte {end}, so the file was probably truncated")
