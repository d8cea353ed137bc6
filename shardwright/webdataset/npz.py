"""Decode NPZ files of unknown origin: zips of NPY files, with limits on what they expand to, and without pickle.

`numpy.load` is not used: it allocates what a header declares, and decompresses whatever a zip holds.
"""

import io
import struct
import zipfile
import zlib
from typing import Any

from numpy.typing import NDArray

from shardwright.webdataset.npy import decode_npy

END = b"PK\x05\x06"
END_BYTES = 22
LOCATOR = b"PK\x06\x07"
LOCATOR_BYTES = 20
MAX_DIRECTORY_BYTES = 1 << 20
"""Of the list of the arrays, each some 60 bytes; Python's zipfile takes 1 kB of memory for each."""
ENDING = ".npy"
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # of `numpy.savez` and `savez_compressed`
ENCRYPTED = 1


def decode_npz(data: bytes, max_bytes: int) -> dict[str, NDArray[Any]]:
    """Decode an NPZ file to its arrays by name, in the order of the file, see `decode_npy`.

    Sizes are added up before anything is decompressed, and the crc32 of each array is checked.

    Args:
        data: the file.
        max_bytes: of all arrays together, with their headers.

    Raises:
        ValueError: it is not a file that `numpy.savez` or `savez_compressed` write: no zip, or one with other files
            than arrays, with a name twice, encrypted or compressed otherwise; its arrays have Python objects or more
            bytes than `max_bytes`; or it is damaged.
    """
    _check_directory(data)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as file:
            infos = file.infolist()
            _check_entries(infos, max_bytes)
            return {info.filename.removesuffix(ENDING): _decode_array(file, info) for info in infos}
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, struct.error) as error:
        raise ValueError(f"its zip is damaged: {error}") from error


def _check_directory(data: bytes) -> None:
    """Check the end of a zip, which tells the size of its directory, before zipfile reads it all."""
    end = data[-END_BYTES:]
    if len(end) < END_BYTES or not end.startswith(END) or end[-2:] != b"\0\0":
        raise ValueError("it is not an NPZ file: it must be a zip, without a comment at its end")
    size = int.from_bytes(end[12:16], "little")
    before = data[:-END_BYTES][-LOCATOR_BYTES:]
    if size > MAX_DIRECTORY_BYTES or before.startswith(LOCATOR):
        raise ValueError(f"its zip has a directory of more than {MAX_DIRECTORY_BYTES} bytes, or one of 64 bits")


def _check_entries(infos: list[zipfile.ZipInfo], max_bytes: int) -> None:
    names: set[str] = set()
    for info in infos:
        name = info.filename
        if not name.endswith(ENDING):
            raise ValueError(f"it contains {name!r:.80}; it must contain only .npy files")
        if name in names:
            raise ValueError(f"it contains {name!r:.80} twice")
        if info.compress_type not in METHODS or info.flag_bits & ENCRYPTED:
            raise ValueError(f"{name!r:.80} is encrypted, or compressed by another method than numpy's")
        names.add(name)
    total = sum(info.file_size for info in infos)
    if total > max_bytes:
        raise ValueError(f"its arrays have {total} bytes; Limits.array_bytes allows {max_bytes}")


def _decode_array(file: zipfile.ZipFile, info: zipfile.ZipInfo) -> NDArray[Any]:
    with file.open(info) as array:
        content = array.read(info.file_size)  # without a number, zipfile would decompress up to 2 GiB before it cuts
    if len(content) != info.file_size:
        raise ValueError(f"its zip declares {info.file_size} bytes of {info.filename!r:.80}, which has {len(content)}")
    try:
        return decode_npy(content)
    except ValueError as error:
        raise ValueError(f"its array {info.filename!r:.80}: {error}") from error
