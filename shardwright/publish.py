"""Files appear whole or not at all."""

import os
import secrets
from collections.abc import Iterable
from pathlib import Path


def write_file(path: Path, chunks: Iterable[bytes]) -> None:
    """Write the chunks to a neighbour of `path`, sync it to disk, and give it its name.

    A reader sees the old file or the new one, also after a crash. Two writers of the same path do not
    disturb each other: the later one wins. The folder must be there.
    """
    neighbour = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        with neighbour.open("xb") as file:
            for chunk in chunks:
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        neighbour.replace(path)
    except BaseException:
        neighbour.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Make the names in a folder as durable as the files that they name."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
