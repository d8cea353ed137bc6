"""Members that are gathered and checked in one go: the same bytes and checksums by every way of reading."""

import zlib
from pathlib import Path

import numpy as np
import pytest

from shardwright.storage.checked_gather import LARGE_ROW, gather_checked
from shardwright.storage.file_set import FileSet
from shardwright.storage.mapped_files import MappedFiles
from shardwright.storage.pread_files import PreadFiles

HEAD = 128


def open_set(folder: Path, kind: str, size: int) -> tuple[FileSet, np.ndarray]:
    """Return files with members of this size, at every 512 bytes after a member, and the addresses of all members."""
    pitch = HEAD + size + -(HEAD + size) % 512
    paths = [folder / f"{number}" for number in range(3)]
    rng = np.random.default_rng(0)
    for path in paths:
        content = rng.integers(0, 256, (5, pitch), np.uint8)
        content[:, :HEAD] = 7
        path.write_bytes(content.tobytes())
    sizes = [path.stat().st_size for path in paths]
    files = PreadFiles(paths, sizes) if kind == "pread" else MappedFiles(paths, sizes)
    starts = (files.starts[:, None] + pitch * np.arange(5)).reshape(-1)
    if kind == "window":
        return files.load(starts, np.full(15, pitch)), starts
    return files, starts


@pytest.mark.parametrize("kind", ["map", "pread", "window"])
@pytest.mark.parametrize("size", [1, 300, LARGE_ROW, LARGE_ROW + 77])
def test_values_and_checksums(tmp_path: Path, kind: str, size: int) -> None:
    files, starts = open_set(tmp_path, kind, size)
    rows = starts[np.random.default_rng(1).permutation(15)]
    for unchecked in (np.ones(15, np.bool_), np.arange(15) % 3 == 0, np.zeros(15, np.bool_)):
        for out in (None, np.empty((15, size), np.uint8)):
            found = gather_checked(files, rows, (HEAD, size), unchecked, out)
            assert out is None or found.values is out
            np.testing.assert_array_equal(found.values, [list(files.read(at + HEAD, size)) for at in rows.tolist()])
            checked = np.flatnonzero(unchecked) if kind != "window" else np.arange(15)
            assert found.rows.tolist() == checked.tolist()
            assert found.have_head(bytes([7]) * HEAD)
            assert found.crc32.tolist() == [zlib.crc32(files.read(at, HEAD + size)) for at in rows[checked].tolist()]


@pytest.mark.parametrize("size", [300, LARGE_ROW])
def test_one_other_head(tmp_path: Path, size: int) -> None:
    files, starts = open_set(tmp_path, "map", size)
    files.close()
    with (tmp_path / "1").open("r+b") as file:
        file.write(b"x")
    paths = [tmp_path / f"{number}" for number in range(3)]
    files = MappedFiles(paths, [path.stat().st_size for path in paths])
    found = gather_checked(files, starts, (HEAD, size), np.ones(15, np.bool_))
    assert not found.have_head(bytes([7]) * HEAD)
    assert found.crc32.tolist() == [zlib.crc32(files.read(at, HEAD + size)) for at in starts.tolist()]
    assert [head.tobytes() == bytes([7]) * HEAD for head in found.heads] == [row != 5 for row in range(15)]
