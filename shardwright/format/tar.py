"""Encode USTAR members: regular files only, without time or owner, so that name and size determine the header.

The layout is that of POSIX.1-1988 `ustar` (`struct posix_header` in the GNU tar manual, "Basic Tar Format"): a header
of 512 bytes, the content, zeros up to the next multiple of 512; two zero blocks end the file.
"""

from functools import lru_cache

BLOCK = 512
END = bytes(2 * BLOCK)
MAX_NAME_BYTES = 100
MAX_MEMBER_BYTES = 8**11 - 1  # the header has eleven octal digits


def encode_header(name: str, size: int) -> bytes:
    """Return the 512 header bytes of a regular file: mode 0644, mtime 0, uid and gid 0, no owner names.

    Raises:
        ValueError: the name is empty, longer than 100 bytes in UTF-8, or contains a NUL; or the size is negative or
            above 8 GiB - 1.
    """
    raw = name.encode()
    if not raw or len(raw) > MAX_NAME_BYTES or b"\0" in raw:
        raise ValueError(
            f"member name {name!r} has {len(raw)} bytes; it must have 1 to {MAX_NAME_BYTES}, none of them NUL"
        )
    if not 0 <= size <= MAX_MEMBER_BYTES:
        raise ValueError(f"member {name!r} has {size} bytes; it must have 0 to {MAX_MEMBER_BYTES}")
    head, tail, total = encode_rest(size)
    return b"".join((raw.ljust(MAX_NAME_BYTES, b"\0"), head, b"%06o\0 " % (total + sum(raw)), tail))


@lru_cache(maxsize=4096)
def encode_rest(size: int) -> tuple[bytes, bytes, int]:
    """Return the header's bytes between name and checksum, those after the checksum, and their part of the checksum."""
    head = (
        b"0000644\0"  # mode
        + b"0000000\0" * 2  # uid, gid
        + b"%011o\0" % size
        + b"00000000000\0"  # mtime
    )
    tail = b"0" + bytes(100) + b"ustar\x0000" + bytes(64) + b"0000000\0" * 2  # type, link, magic, owners, device
    tail = tail.ljust(BLOCK - MAX_NAME_BYTES - len(head) - 8, b"\0")
    return head, tail, sum(head) + sum(tail) + 8 * ord(" ")


def count_padding(size: int) -> int:
    """Return the number of zero bytes that follow `size` bytes of content, up to the next block."""
    return -size % BLOCK


def encode_member(name: str, data: bytes) -> bytes:
    """Return header, content and padding of one regular file."""
    return encode_header(name, len(data)) + data + bytes(count_padding(len(data)))
