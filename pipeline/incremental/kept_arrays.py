"""Keep arrays between runs that take long to make, as where a library must be imported for them alone.

A file has the sha256 of its key and content, then each array as NumPy's `.npy`. One that is missing, damaged or of
another key is made again, so the folder may be deleted at any time.
"""

import hashlib
import io
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.incremental.arrays_folder import VARIABLE
from pipeline.incremental.library_versions import describe_machine, read_installed
from shardwright.format.atomic_write import write_file

if TYPE_CHECKING:
    from numpy.typing import NDArray

_DIGEST_BYTES = 32


def keep_arrays(
    about: Mapping[str, Any], libraries: Iterable[str], make: Callable[[], Sequence["NDArray[Any]"]]
) -> Sequence["NDArray[Any]"]:
    """Return the arrays of `make()`, bit for bit, from an earlier run if there are any.

    Args:
        about: what they are, and all that they are made from, as JSON.
        libraries: the distributions that make them: with another version, or on another type of processor, they are
            made again.
        make: makes them.
    """
    folder = os.environ.get(VARIABLE)
    if not folder:
        return make()
    environment = {**describe_machine(), **read_installed(libraries)}
    key = json.dumps([dict(about), environment], sort_keys=True).encode()
    path = Path(folder) / f"{hashlib.sha256(key).hexdigest()[:32]}.arrays"
    arrays = _read(path, key)
    if arrays is None:
        arrays = make()
        with suppress(OSError):  # a full disk, or a folder that may not be written to
            _write(path, key, arrays)
    return arrays


def _read(path: Path, key: bytes) -> "Sequence[NDArray[Any]] | None":
    """Return the arrays of a file, None if it is missing or damaged."""
    import numpy as np

    try:
        data = path.read_bytes()
    except OSError:
        return None
    digest, content = data[:_DIGEST_BYTES], data[_DIGEST_BYTES:]
    if digest != hashlib.sha256(key + content).digest():
        return None
    file, arrays = io.BytesIO(content), []
    while file.tell() < len(content):
        arrays.append(np.load(file, allow_pickle=False))
    return arrays


def _write(path: Path, key: bytes, arrays: Sequence["NDArray[Any]"]) -> None:
    """Write the file at once, and remove what a killed writer left of it. Another one at work then fails."""
    import numpy as np

    file = io.BytesIO()
    for array in arrays:
        np.save(file, array, allow_pickle=False)
    content = file.getvalue()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, [hashlib.sha256(key + content).digest(), content], sync=False)
    for left in path.parent.glob(f".{path.name}.*.partial"):
        left.unlink(missing_ok=True)
