"""The tar of one chunk's cleaned bytes: held in memory and written at once, or, where the cache has the same one, given
a second name."""

import hashlib
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.cache.object_store import ObjectStore, copy_by_link
from pipeline.cache.pack_index import ENTRY, PIECE, DamagedError, PackIndex
from shardwright.format.atomic_write import write_file
from shardwright.format.tar import BLOCK, END, count_padding, encode_member


@dataclass(frozen=True)
class TarEntry:
    """An item's cleaned bytes: its name in the tar, their sha256, their size, and their fingerprint in the cache."""

    name: str
    sha256: bytes
    size: int
    fingerprint: bytes


def plan_offsets(members: Sequence[TarEntry]) -> list[int]:
    """Where the content of each member starts in the tar."""
    offsets, position = [], 0
    for member in members:
        offsets.append(position + BLOCK)
        position += BLOCK + member.size + count_padding(member.size)
    return offsets


def name_tar(members: Sequence[TarEntry]) -> str:
    """The name in the cache of the tar of these members."""
    digest = hashlib.sha256(b"tar of cleaned bytes")
    for member in members:
        digest.update(f"{member.name} {member.sha256.hex()} {member.size} {member.fingerprint.hex()}\n".encode())
    return f"{digest.hexdigest()[:32]}.tar"


def reuse_tar(objects: ObjectStore, name: str, path: Path) -> bool:
    """Give the kept tar of that name the second name `path`, if there is one and it is whole."""
    try:
        rows = objects.read_rows(name)
        path.unlink(missing_ok=True)  # of a task that runs again
        copy_by_link(objects.find_path(name), path)
    except (DamagedError, FileNotFoundError):
        return False
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() == rows.about["sha256"]:
            return True
    path.unlink()
    return False


def write_tar(objects: ObjectStore, path: Path, members: Sequence[TarEntry], contents: Iterator[bytes]) -> None:
    """Write the tar, whole or not at all, and keep it in the cache."""
    entries: dict[bytes, tuple[bytes, bool, int, int]] = {}
    pieces: list[tuple[int, int, int]] = []
    chunks: list[bytes] = []
    for member, offset, content in zip(members, plan_offsets(members), contents, strict=True):
        chunks.append(encode_member(member.name, content))
        if member.fingerprint not in entries:  # else another item has the same bytes
            entries[member.fingerprint] = (member.fingerprint, False, len(pieces), 1)
            pieces.append((offset, member.size, zlib.crc32(content)))
    chunks.append(END)
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    write_file(path, chunks)
    table = np.array(list(entries.values()), ENTRY)
    rows = PackIndex(
        sum(map(len, chunks)),
        table[np.argsort(table["fingerprint"])],
        np.array(pieces, PIECE),
        {"sha256": digest.hexdigest()},
    )
    objects.adopt(name_tar(members), path, rows)
