"""Write the tar of a chunk's cleaned bytes at once from memory, or link the same tar from the cache."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.cache.object_store import ObjectStore, copy_by_link
from pipeline.cache.pack_index import ENTRY, PIECE, DamagedError, PackIndex
from shardwright.format.atomic_write import write_file
from shardwright.format.checksum import compute_crc32
from shardwright.format.tar import BLOCK, END, count_padding, encode_member


@dataclass(frozen=True)
class TarEntry:
    """An item's cleaned bytes: the member's name, their sha256, their size, and their key in the cache."""

    name: str
    sha256: bytes
    size: int
    cache_key: bytes


def plan_offsets(members: Sequence[TarEntry]) -> list[int]:
    """Return the offset of each member's content in the tar."""
    offsets, position = [], 0
    for member in members:
        offsets.append(position + BLOCK)
        position += BLOCK + member.size + count_padding(member.size)
    return offsets


def name_tar(members: Sequence[TarEntry]) -> str:
    """Return the name in the cache of the tar of these members."""
    digest = hashlib.sha256(b"tar of cleaned bytes")
    for member in members:
        digest.update(f"{member.name} {member.sha256.hex()} {member.size} {member.cache_key.hex()}\n".encode())
    return f"{digest.hexdigest()[:32]}.tar"


def reuse_tar(objects: ObjectStore, name: str, path: Path) -> bool:
    """Link the cached tar of this name to `path`; return False if there is none, or it is damaged."""
    try:
        rows = objects.read_rows(name)
        path.unlink(missing_ok=True)  # left by a task that runs again
        copy_by_link(objects.find_path(name), path)
    except (DamagedError, FileNotFoundError):
        return False
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() == rows.about["sha256"]:
            return True
    path.unlink()
    return False


def write_tar(objects: ObjectStore, path: Path, members: Sequence[TarEntry], contents: Iterator[bytes]) -> None:
    """Write the tar atomically, and add it to the cache."""
    entries: dict[bytes, tuple[bytes, bool, int, int]] = {}
    pieces: list[tuple[int, int, int]] = []
    chunks: list[bytes] = []
    for member, offset, content in zip(members, plan_offsets(members), contents, strict=True):
        chunks.append(encode_member(member.name, content))
        if member.cache_key not in entries:  # else another item has the same bytes
            entries[member.cache_key] = (member.cache_key, False, len(pieces), 1)
            pieces.append((offset, member.size, compute_crc32(content)))
    chunks.append(END)
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    write_file(path, chunks)
    table = np.array(list(entries.values()), ENTRY)
    rows = PackIndex(
        sum(map(len, chunks)),
        table[np.argsort(table["key"])],
        np.array(pieces, PIECE),
        {"sha256": digest.hexdigest()},
    )
    objects.adopt(name_tar(members), path, rows)
