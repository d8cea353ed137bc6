"""The item cache: bytes by the hash of what they were made from, outside every output folder.

An entry is its sha256 followed by its bytes, written elsewhere and renamed: a damaged one is found when it is read, and
is as good as none. What is being written lies in the stage's work folder, so nothing of a killed run stays behind.
"""

import hashlib
import os
import tempfile
from pathlib import Path


class ItemCache:
    """Entries of one kind under `<cache>/items/<kind>/`. Safe for several processes at once."""

    def __init__(self, cache: Path, kind: str, work: Path) -> None:
        self._folder = cache / "items" / kind
        self._work = work  # on the file system of the cache

    def read(self, key: str) -> bytes | None:
        """The entry for `key`, or None where there is none or it is damaged."""
        try:
            content = self._find_path(key).read_bytes()
        except FileNotFoundError:
            return None
        checksum, data = content[:32], content[32:]
        return data if hashlib.sha256(data).digest() == checksum else None

    def write(self, key: str, data: bytes) -> None:
        """Store `data` for `key`, in place of what was there."""
        path = self._find_path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=self._work, prefix=f"{self._folder.name}-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(hashlib.sha256(data).digest() + data)
            Path(name).rename(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise

    def _find_path(self, key: str) -> Path:
        name = hashlib.sha256(key.encode()).hexdigest()
        return self._folder / name[:2] / name
