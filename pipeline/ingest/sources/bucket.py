"""Fetch archives and tables from a bucket, to be read as local files are. Copies of archives are kept in the item
cache, so that only new ones are fetched; single objects are read where they are, see `folder`."""

import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline.errors import InputError
from pipeline.incremental.pack_index import ENTRY, PIECE, PackIndex
from pipeline.incremental.published_tar import name_tar, reuse_tar
from pipeline.ingest.sources.source import SourceInputs, name_copy
from pipeline.inputs.bucket import Bucket


class ListedObject(NamedTuple):
    """An object as listed; see `pipeline.tables.contracts.LISTED`."""

    file: str
    size: int
    version: str


def fetch_archive(bucket: Bucket, listed: ListedObject, inputs: SourceInputs) -> tuple[Path, bytes]:
    """Return a copy of an archive, which lasts as long as the stage, and its sha256.

    Raises:
        InputError: it is gone or was changed since it was listed, or cannot be fetched; the message names it.
    """
    key = f"{bucket.url} {listed.file} {listed.size} {listed.version}"
    name = name_tar(hashlib.sha256(f"fetched {key}".encode()))
    if name in inputs.copies:
        return inputs.copies[name]
    fetched = inputs.spool / name
    rows = reuse_tar(inputs.objects, name, fetched) if listed.version else None
    if rows is None:
        fetch_object(bucket, listed, fetched)
        with fetched.open("rb") as file:
            about = {"sha256": hashlib.file_digest(file, "sha256").hexdigest()}
        rows = PackIndex(listed.size, np.empty(0, ENTRY), np.empty(0, PIECE), about=about, extra=b"")
        inputs.objects.adopt(name, fetched, rows)
    sha256 = bytes.fromhex(rows.about["sha256"])
    path = name_copy(inputs.spool, sha256)
    fetched.rename(path)
    inputs.copies[name] = path, sha256
    return path, sha256


def fetch_object(bucket: Bucket, listed: ListedObject, target: Path) -> None:
    """Write an object to a file below the work folder.

    Raises:
        InputError: see `fetch_archive`.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    fault = bucket.fetch(listed.file, listed.size, listed.version, target)
    if fault is not None:
        raise InputError(f"{bucket.name}/{listed.file}: {fault.detail}: run `dvc repro` again")
