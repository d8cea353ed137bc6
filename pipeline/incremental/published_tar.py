"""Keep tars that a stage published in the item cache, under the hash of everything that they were made from, and use
them again."""

import hashlib
from pathlib import Path

from pipeline.incremental.object_store import ObjectStore, copy_by_link
from pipeline.incremental.pack_index import DamagedError, PackIndex

SUFFIX = ".tar"
"""File suffix of published tars, which tells them from packs."""


def name_tar(digest: "hashlib._Hash") -> str:
    """Return the name in the cache of the tar of this hash."""
    return f"{digest.hexdigest()[:32]}{SUFFIX}"


def reuse_tar(objects: ObjectStore, name: str, path: Path) -> PackIndex | None:
    """Link the tar of this name to `path` and return its index; None if it is missing or damaged.

    The index says by `about["sha256"]` what the sha256 of the whole file is.
    """
    try:
        rows = objects.read_rows(name)
        path.parent.mkdir(exist_ok=True)
        path.unlink(missing_ok=True)  # left by an earlier try of the task
        copy_by_link(objects.find_path(name), path)
    except (DamagedError, FileNotFoundError):
        return None
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() == rows.about["sha256"]:
            return rows
    path.unlink()
    return None
