"""Read tar files of unknown origin sequentially, member by member, checking everything that a header declares.

USTAR, GNU and PAX headers, as specified by POSIX.1-2001 (`pax`) and the GNU tar manual ("Basic Tar Format"). `tarfile`
is not used: it takes a damaged header for the end of the archive, a cut at a member boundary for a shorter archive, and
reads sparse members, which turn five kilobytes into sixty gigabytes.
"""

import hashlib
import io
import re
import zlib
from collections.abc import Iterator
from pathlib import PurePath
from typing import BinaryIO, NamedTuple

from shardwright.errors import DamageError, FormatError
from shardwright.format.checksum import compute_crc32
from shardwright.format.tar import BLOCK, count_padding
from shardwright.webdataset.decompress import LOADERS
from shardwright.webdataset.expand_urls import ALLOW
from shardwright.webdataset.limits import DEFAULT_LIMITS, Limits

CHUNK_BYTES = 1 << 20
ZEROS = bytes(BLOCK)
CHECKSUM = slice(148, 156)
PREFIX = slice(345, 500)
OCTAL = re.compile(rb" *([0-7]*)[ \0]*")
PAX_LENGTH = re.compile(rb"([1-9][0-9]{0,9}) ")
DECIMAL = re.compile(rb"[0-9]{1,19}")

FILE_TYPES = (b"0", b"\0", b"7")  # 7 was reserved for contiguous files; all readers take it for a regular file
REFUSED_TYPES = {
    b"1": "a hard link; write the tar with --hard-dereference",
    b"2": "a symbolic link; write the tar with --dereference",
    b"3": "a character device",
    b"4": "a block device",
    b"6": "a pipe",
    b"S": "a sparse file; write the tar without --sparse",
    b"M": "the rest of a file that starts in another volume",
    b"V": "a volume label",
    b"D": "a folder listing of an incremental archive",
}
COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x50\x2a\x4d\x18": "zstd",  # a skippable frame, which pzstd writes first
    b"\x04\x22\x4d\x18": "lz4",
    b"PK\x03\x04": "zip",
}


class Member(NamedTuple):
    """A regular file in a tar.

    Attributes:
        name: as stored.
        offset: of its content, bytes from the start of the tar.
        size: of its content, bytes.
        crc32: of its content.
        head: the first `CHUNK_BYTES` of its content: enough to read the header of an image or array.
    """

    name: bytes
    offset: int
    size: int
    crc32: int
    head: bytes


class TarReader:
    """Read a tar once, from its first byte to its last.

    Args:
        file: open at its start; it is read sequentially, without seeking.
        size: of the file, bytes.
        shard: its path, for messages.
        limits: see `Limits`.
        unterminated: whether the two blocks of zeros that end a tar may be missing. Without them a complete shard
            cannot be distinguished from one that was cut between two members.
    """

    def __init__(
        self, file: BinaryIO, size: int, shard: str, limits: Limits = DEFAULT_LIMITS, unterminated: bool = False
    ) -> None:
        self._hashed = _HashedFile(file)
        self._file = io.BufferedReader(self._hashed, CHUNK_BYTES)
        self._size = size
        self._shard = shard
        self._limits = limits
        self._unterminated = unterminated
        self._position = 0

    @property
    def sha256(self) -> str:
        """The sha256 of what was read, 64 hex digits: of the whole file once `read_members` has ended."""
        return self._hashed.digest.hexdigest()

    def read_members(self) -> Iterator[Member]:
        """Yield the regular files in order, up to the end of the file.

        Raises:
            DamageError: a checksum is wrong, or the file is truncated; the message names shard, member and offset.
            FormatError: the file is not a tar, or contains what no dataset needs: links, devices, sparse files, names
                that lead out of a folder, more than the limits allow.
        """
        count = 0
        while (header := self._read_header()) is not None:
            if header.is_folder:
                continue
            count += 1
            if count > self._limits.members:
                raise self._refuse(
                    f"the shard has more members than Limits.members ({self._limits.members}) allows",
                    header.start,
                    header.name,
                )
            offset = self._position
            crc32, head = self._read_content(header.size)
            yield Member(header.name, offset, header.size, crc32, head)

    def _read_header(self) -> "_Header | None":
        """Return the next header of a file or folder, with the extended headers before it; None at the end."""
        extension = _Extension()
        while True:
            start = self._position
            block = self._read_block(start)
            if block is None or block == ZEROS:
                if extension.kinds:
                    raise self._damage("the shard ends after an extended header", start)
                self._check_end(block)
                return None
            kind, size = self._check_block(block, start)
            if kind in (b"x", b"L", b"K", b"g"):
                self._read_extension(extension, kind, size, start)
                continue
            return self._finish_header(block, kind, size, extension)

    def _read_block(self, start: int) -> bytes | None:
        block = self._file.read(BLOCK)
        self._position += len(block)
        if 0 < len(block) < BLOCK:
            if start == 0:
                raise self._refuse(_name_format(block), start)
            raise self._damage("the shard is truncated here, inside a header", start)
        return block or None

    def _check_block(self, block: bytes, start: int) -> tuple[bytes, int]:
        """Return the type and the size in a header, after a check of its checksum."""
        stored = decode_number(block[CHECKSUM])
        summed = block[: CHECKSUM.start] + b" " * 8 + block[CHECKSUM.stop :]
        total = sum_block(summed)
        # Some old writers summed signed bytes.
        if stored != total and stored != total - 256 * sum(byte > 127 for byte in summed):
            if start == 0:
                raise self._refuse(_name_format(block), start)
            raise self._damage("the checksum of this header is wrong", start, _cut_name(block[:100]))
        size = decode_number(block[124:136])
        if size is None:
            raise self._refuse("its size is not a number of at least 0", start, _cut_name(block[:100]))
        return block[156:157], size

    def _read_extension(self, extension: "_Extension", kind: bytes, size: int, start: int) -> None:
        """Read a PAX header or long name that applies to the next member."""
        if size > self._limits.extension_bytes:
            raise self._refuse(
                f"its extended header has {size} bytes; Limits.extension_bytes allows {self._limits.extension_bytes}",
                start,
            )
        if kind in extension.kinds and kind != b"g":
            raise self._refuse("it has two extended headers of one kind", start)
        content = self._read_exactly(size + count_padding(size))
        if content[size:].strip(b"\0"):  # some readers would append it to the name, or read another record
            raise self._refuse("its extended header is followed by other bytes", start)
        try:
            extension.add(kind, content[:size])
        except ValueError as error:
            raise self._refuse(str(error), start) from error

    def _finish_header(self, block: bytes, kind: bytes, size: int, extension: "_Extension") -> "_Header":
        """Return the header of a file or folder, after a check of all its values."""
        start = self._position - BLOCK
        name = join_name(block) if extension.name is None else extension.name
        if block[PREFIX.start] and block[257:263] != b"ustar\0":
            # In incremental archives of GNU tar these bytes are times; `tarfile` reads them as folders.
            raise self._refuse("it is not USTAR, but has bytes where USTAR has the folders of a name", start, name)
        size = size if extension.size is None else extension.size
        if kind in REFUSED_TYPES or kind not in (*FILE_TYPES, b"5"):
            what = REFUSED_TYPES.get(kind, f"of the type {kind.decode('latin-1')!r}, which is not a file")
            raise self._refuse(f"it is {what}", start, name)
        if fault := find_name_fault(name, self._limits.name_bytes):
            raise self._refuse(fault, start, name)
        is_folder = kind == b"5" or (kind == b"\0" and name.endswith(b"/"))  # before USTAR folders had no type
        if is_folder and size:
            raise self._refuse(f"it is a folder with {size} bytes of content", start, name)
        if not is_folder and name.endswith(b"/"):
            raise self._refuse("it is a file with the name of a folder", start, name)
        if size > self._limits.member_bytes:
            raise self._refuse(
                f"it has {size} bytes; Limits.member_bytes allows {self._limits.member_bytes}", start, name
            )
        if size > self._size - self._position:
            rest = max(0, self._size - self._position)
            raise self._damage(f"its header declares {size} bytes; the shard ends after {rest}", start, name)
        return _Header(name, size, start, is_folder)

    def _read_content(self, size: int) -> tuple[int, bytes]:
        """Return the crc32 of a content and its first bytes; reads the padding after it too."""
        first = self._read_exactly(min(size, CHUNK_BYTES))
        crc32, rest = compute_crc32(first), size - len(first)
        while rest:
            chunk = self._read_exactly(min(rest, CHUNK_BYTES))
            crc32, rest = compute_crc32(chunk, crc32), rest - len(chunk)
        self._read_exactly(count_padding(size))
        return crc32, first

    def _read_exactly(self, size: int) -> bytes:
        content = self._file.read(size)
        self._position += len(content)
        if len(content) < size:
            raise self._damage("the shard is truncated here", self._position)
        return content

    def _check_end(self, block: bytes | None) -> None:
        """Read to the end of the file: a second block of zeros, and zeros that pad the last record."""
        end = self._position - len(block or b"")
        second = self._file.read(BLOCK) if block else b""
        if len(second) < BLOCK and not self._unterminated:
            raise self._damage(
                "the shard ends without the two blocks of zeros that end a tar, so it was probably truncated; if its "
                "writer omits them, read it with Indexing(unterminated=True)",
                end,
            )
        while second:
            if second.strip(b"\0"):
                raise self._damage(
                    "the end of the archive is followed by other bytes: a damaged header, or several concatenated tars",
                    end,
                )
            second = self._file.read(CHUNK_BYTES)

    def _damage(self, what: str, offset: int, name: bytes | None = None) -> DamageError:
        return DamageError(self._describe(what, offset, name), shard=PurePath(self._shard).name, offset=offset)

    def _refuse(self, what: str, offset: int, name: bytes | None = None) -> FormatError:
        return FormatError(self._describe(what, offset, name))

    def _describe(self, what: str, offset: int, name: bytes | None) -> str:
        member = "" if name is None else f"member {decode_name(name)!r} "
        return f"{self._shard}: {member}at byte {offset}: {what}"


class _Header(NamedTuple):
    """The values of the headers before a content; `start` is the offset of the last header."""

    name: bytes
    size: int
    start: int
    is_folder: bool


class _Extension:
    """The values that extended headers give for the next member."""

    def __init__(self) -> None:
        self.kinds: set[bytes] = set()
        self.name: bytes | None = None
        self.size: int | None = None

    def add(self, kind: bytes, content: bytes) -> None:
        """Add one extended header.

        Raises:
            ValueError: it is malformed, or has values that are refused.
        """
        if kind == b"g":
            # Global headers contain comments, such as the commit of a `git archive`.
            if refused := sorted({b"path", b"size"} & parse_pax(content).keys()):
                raise ValueError(f"its global PAX header sets one {refused[0].decode()} for all members")
            return
        self.kinds.add(kind)
        name = None
        if kind == b"L":
            name = content.split(b"\0", 1)[0]
        elif kind == b"x":
            records = parse_pax(content)
            name = records.get(b"path")
            if b"size" in records:
                if not DECIMAL.fullmatch(records[b"size"]):
                    raise ValueError("its PAX header has a size that is not a number of at least 0")
                self.size = int(records[b"size"])
        if name is not None:
            if self.name is not None:
                raise ValueError("two of its extended headers set a name")
            self.name = name


class _HashedFile(io.RawIOBase):
    """A file that is hashed while it is read."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.digest = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        chunk = self._file.read(len(buffer))
        buffer[: len(chunk)] = chunk
        self.digest.update(chunk)
        return len(chunk)


def decode_name(name: bytes) -> str:
    """Return a name as text; bytes that are not UTF-8 are escaped."""
    return name.decode("utf-8", "backslashreplace")


def sum_block(block: bytes) -> int:
    """Return the sum of the 512 bytes of a block, in a tenth of the time of `sum`.

    The lower half of an Adler-32 (RFC 1950) is 1 and the sum of the bytes, modulo 65,521, which 256 bytes do not reach.
    """
    return (zlib.adler32(block[:256]) & 0xFFFF) + (zlib.adler32(block[256:]) & 0xFFFF) - 2


def decode_number(field: bytes) -> int | None:
    """Parse a number of a header: octal digits, or binary as GNU tar writes large ones; None if it is neither."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    found = OCTAL.fullmatch(field)
    return int(found[1] or b"0", 8) if found else None


def parse_pax(content: bytes) -> dict[bytes, bytes]:
    """Parse the records of a PAX header, each `<length> <keyword>=<value>` and a newline.

    Raises:
        ValueError: a record is malformed, or describes a sparse file.
    """
    records, start = {}, 0
    while start < len(content):
        found = PAX_LENGTH.match(content, start)
        end = start + int(found[1]) if found else 0
        keyword, equals, value = content[found.end() if found else 0 : max(end - 1, 0)].partition(b"=")
        if not found or end > len(content) or content[end - 1 : end] != b"\n" or not equals or not keyword:
            raise ValueError("its PAX header is malformed")
        if keyword.startswith(b"GNU.sparse."):
            raise ValueError("it is a sparse file; write the tar without --sparse")
        records[keyword] = value
        start = end
    return records


def _cut_name(field: bytes) -> bytes:
    return field.split(b"\0", 1)[0]


def join_name(block: bytes) -> bytes:
    """Return the name in a header; USTAR stores the folders of long names separately."""
    name, prefix = _cut_name(block[:100]), _cut_name(block[PREFIX])
    return prefix + b"/" + name if prefix else name


def find_name_fault(name: bytes, limit: int) -> str | None:
    """Return what is wrong with the name of a member, which may have `limit` bytes."""
    if not name:
        return "it has no name"
    if len(name) > limit:
        return f"its name has {len(name)} bytes; Limits.name_bytes allows {limit}"
    if b"\0" in name:
        return "its name contains a zero byte"
    if name.startswith(b"/"):
        return "its name is an absolute path"
    if b".." in name.split(b"/"):
        return 'its name leads out of its folder by ".."'
    return None


def find_compression(start: bytes) -> str | None:
    """Return the format of a compressed file by its first bytes; None if it is not one of `COMPRESSED`."""
    return next((name for magic, name in COMPRESSED.items() if start.startswith(magic)), None)


def _name_format(block: bytes) -> str:
    """Describe a file that does not start like a tar."""
    if (name := find_compression(block)) is not None:
        hint = ALLOW if name in LOADERS else "decompress it to a plain .tar"
        return f"it is compressed with {name}, so samples cannot be read at random; {hint}"
    return "the file is not a tar, or its first header is damaged"
