"""Make archives for tests, in memory."""

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Mapping

import pyarrow as pa
import pyarrow.parquet as pq


def make_zip(files: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip with these files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content, method)
    return buffer.getvalue()


def compress_zstd(content: bytes) -> bytes:
    """A zstd frame."""
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return bytes(sink.getvalue())


COMPRESS: Mapping[str, Callable[[bytes], bytes]] = {
    "": bytes,
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": compress_zstd,
}


def make_tar(files: Mapping[str, bytes], compression: str = "", layout: int = tarfile.PAX_FORMAT) -> bytes:
    """A tar with these files."""
    members = []
    for name, content in files.items():
        info = tarfile.TarInfo(name)
        info.size = len(content)
        members.append((info, content))
    return COMPRESS[compression](make_tar_of(members, layout))


def make_tar_of(members: Iterable[tuple[tarfile.TarInfo, bytes]], layout: int = tarfile.PAX_FORMAT) -> bytes:
    """A tar with these members."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=layout) as archive:
        for info, content in members:
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def make_parquet(table: pa.Table) -> bytes:
    """A Parquet file of several row groups."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, row_group_size=3)
    return bytes(sink.getvalue())


def make_arrow(table: pa.Table, stream: bool = False) -> bytes:
    """An Arrow file, or a stream as `datasets` of Hugging Face writes."""
    sink = pa.BufferOutputStream()
    with (pa.ipc.new_stream if stream else pa.ipc.new_file)(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=3)
    return bytes(sink.getvalue())


def make_warc(bodies: Mapping[str, bytes]) -> bytes:
    """A WARC file with a response for each URL."""
    records = b""
    for url, body in bodies.items():
        answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n" + body
        head = f"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: {url}\r\nContent-Length: {len(answer)}\r\n"
        kind = b"Content-Type: application/http; msgtype=response\r\n\r\n"
        records += head.encode() + kind + answer + b"\r\n\r\n"
    return records
