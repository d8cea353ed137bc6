"""Write WebDataset tars by other tools, for the tests of `shardwright.webdataset`."""

import contextlib
import io
import logging
import os
import struct
import subprocess
import tarfile
import tracemalloc
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from shardwright.webdataset.dataset import ForeignDataset
from shardwright.webdataset.decode import Sound

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}
Sample = tuple[str, dict[str, bytes]]


@pytest.fixture(autouse=True)
def user_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temporary folder in the place of the user's cache."""
    folder = tmp_path / "user-cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder / "shardwright" / "indexes"


def make_tar(members: Iterable[tuple[str, bytes]], format: str = "ustar") -> bytes:  # noqa: A002 (tarfile's word)
    """Return a tar of regular files, written by the standard library."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=FORMATS[format]) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return file.getvalue()


def list_members(samples: Iterable[Sample]) -> list[tuple[str, bytes]]:
    return [(f"{key}.{suffix}", content) for key, members in samples for suffix, content in members.items()]


def write_shards(folder: Path, shards: Sequence[Sequence[Sample]], format: str = "ustar") -> Path:  # noqa: A002
    """Write a shard for each list of samples by the standard library."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, samples in enumerate(shards):
        (folder / f"shard-{number:03d}.tar").write_bytes(make_tar(list_members(samples), format))
    return folder


def write_by_webdataset(folder: Path, samples: Sequence[Sample], maxcount: int = 4) -> Path:
    """Write shards by the package webdataset."""
    import webdataset

    folder.mkdir(parents=True, exist_ok=True)
    with webdataset.ShardWriter(str(folder / "shard-%03d.tar"), maxcount=maxcount, verbose=0, encoder=False) as writer:
        for key, members in samples:
            writer.write({"__key__": key, **members})
    return folder


def write_by_tar(folder: Path, samples: Sequence[Sample], options: Sequence[str] = ()) -> Path:
    """Write one shard by the program tar from the files of a folder; their names start with "./"."""
    files = folder.with_name(f"{folder.name}-files")
    for name, content in list_members(samples):
        path = files / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        ["tar", "--create", "--sort=name", *options, "--file", folder / "shard-000.tar", "--directory", files, "."],
        check=True,
    )
    return folder


def read_by_webdataset(paths: Sequence[Path]) -> list[Sample]:
    """Return the samples as the package webdataset reads them; files are closed here, as it would leave them open."""
    from webdataset.tariterators import group_by_keys, tar_file_expander

    with contextlib.ExitStack() as stack:
        sources = [{"url": str(path), "stream": stack.enter_context(path.open("rb"))} for path in paths]
        return [
            (sample["__key__"], {name: value for name, value in sample.items() if not name.startswith("__")})
            for sample in group_by_keys(tar_file_expander(sources))
        ]


def make_image(rng: np.random.Generator, shape: tuple[int, int] = (12, 16), suffix: str = ".png") -> bytes:
    pixels = cv2.resize(rng.integers(0, 255, (4, 4, 3), np.uint8), shape[::-1])
    return bytes(cv2.imencode(suffix, pixels)[1].tobytes())


def make_audio(frames: int = 400, channels: int = 2, format: str = "WAV") -> bytes:  # noqa: A002
    file = io.BytesIO()
    wave = np.sin(np.arange(frames * channels).reshape(frames, channels) / 9)
    soundfile.write(file, wave, 8000, format=format)
    return file.getvalue()


def make_npy(array: NDArray[Any] | np.generic, **options: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def make_npz(save: Callable[..., None] = np.savez, /, **arrays: Any) -> bytes:
    file = io.BytesIO()
    save(file, **arrays)
    return file.getvalue()


def rotate_jpeg(data: bytes, orientation: int) -> bytes:
    """Add an EXIF segment with an orientation to a JPEG."""
    body = b"Exif\0\0" + make_exif(orientation)
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + data[2:]


def rotate_png(data: bytes, orientation: int, before: bytes) -> bytes:
    """Add an EXIF chunk with an orientation to a PNG, before the first chunk of this type."""
    body = b"eXIf" + make_exif(orientation)
    at = data.index(before) - 4
    return data[:at] + struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body)) + data[at:]


def rotate_webp(data: bytes, size: tuple[int, int], orientation: int) -> bytes:
    """Add an EXIF chunk with an orientation to a WebP image of this height and width."""
    exif = make_exif(orientation)
    canvas = bytes([8, 0, 0, 0]) + (size[1] - 1).to_bytes(3, "little") + (size[0] - 1).to_bytes(3, "little")
    body = b"WEBPVP8X" + struct.pack("<I", 10) + canvas + data[12:] + b"EXIF" + struct.pack("<I", len(exif)) + exif
    return b"RIFF" + struct.pack("<I", len(body)) + body


def make_exif(orientation: int) -> bytes:
    return b"MM\0*" + struct.pack(">IHHHIHH", 8, 1, 0x0112, 3, 1, orientation, 0) + bytes(4)


def make_mixed(count: int, rng: np.random.Generator) -> list[Sample]:
    """Return samples with a member of every type."""
    return [
        (
            f"s{number:04d}",
            {
                "cls": b"%d" % (number % 3),
                "flac": make_audio(50 + number, format="FLAC"),
                "jpg": make_image(rng, (8 + number % 3, 9), ".jpg"),
                "json": b'{"n": %d}' % number,
                "npy": make_npy(np.full((2, 3), number, np.float32)),
                "png": make_image(rng),
                "pth": rng.bytes(number),
                "txt": f"caption {number} é".encode(),
            },
        )
        for number in range(count)
    ]


def list_warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def measure_peak(work: Callable[[], Any]) -> int:
    """Return the peak of bytes that Python allocated during `work`."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def is_equal(found: Any, expected: Any) -> bool:
    """Return whether two values of a member are equal, including their types."""
    if isinstance(expected, Sound):
        return found.rate == expected.rate and is_equal(found.samples, expected.samples)
    if isinstance(expected, np.ndarray):
        return bool(found.dtype == expected.dtype and np.array_equal(found, expected))
    return bool(found == expected)


def make_small(count: int = 12) -> list[Sample]:
    return [(f"k{n}", {"npy": make_npy(np.full(3, n, np.int32)), "txt": b"%d" % n * n}) for n in range(count)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    samples = make_small()
    return write_shards(tmp_path / "set", [samples[:4], samples[4:8], samples[8:]])


def read_all(data: ForeignDataset) -> list[Any]:
    return [(sample["key"], sample["npy"].tolist(), sample["txt"]) for sample in data]


def find_index(folder: Path) -> Path:
    (path,) = folder.glob("*.index")
    return path


def overwrite(path: Path, offset: int, content: bytes) -> None:
    """Change bytes of a file, but not its size, modification time or inode."""
    found = path.stat()
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(content)
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
