"""Copy the bodies that a crawl kept from the journal into tars."""

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pipeline.crawl.journal import Body
from pipeline.errors import InputError
from pipeline.tables.blob_store import BlobLocation, TarLayout, TarReader, write_member
from pipeline.tables.contracts import CRAWLED_FOLDER
from shardwright.format.tar import END

THREADS = 4
"""For copying bodies: they hash and wait for the disk without Python's lock."""


class BodyTars:
    """Plans tars with each different body once, then copies them from the journal, a tar a thread.

    `journal` is the journal's folder.
    """

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._layout = TarLayout(CRAWLED_FOLDER, "responses")
        self._locations: dict[str, BlobLocation] = {}  # by sha256
        self._tars: dict[str, list[tuple[str, Body]]] = {}  # by name; each body with the URL that had it first

    def __len__(self) -> int:
        return len(self._locations)

    def plan(self, url: str, body: Body) -> BlobLocation:
        """Return where the body of that URL will be: tars are filled in the order of the calls."""
        location = self._locations.get(body.sha256)
        if location is None:
            location = self._locations[body.sha256] = self._layout.add(body.location.size)
            self._tars.setdefault(location.tar_name, []).append((url, body))
        return location

    def write(self, folder: Path) -> Iterator[int]:
        """Write the tars, and yield the number of bodies of each when it is complete.

        Raises:
            InputError: a body is missing in the journal or damaged there; the message names its URL.
        """
        with ThreadPoolExecutor(THREADS, "crawl-copy") as pool:
            try:
                yield from pool.map(lambda tar: self._write_tar(folder / tar, self._tars[tar]), self._tars)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _write_tar(self, path: Path, bodies: list[tuple[str, Body]]) -> int:
        with path.open("xb") as file, TarReader(self._journal) as journal:
            for url, body in bodies:
                write_member(file, body.sha256, _read_body(journal, url, body))
                journal.forget(body.location)
            file.write(END)
        return len(bodies)


def _read_body(journal: TarReader, url: str, body: Body) -> bytes:
    message = f"the response of {url} is missing in the cache, or damaged: run the stage again"
    try:
        data = journal.read(body.location)
    except InputError:
        raise InputError(message) from None
    if hashlib.sha256(data).hexdigest() != body.sha256:
        raise InputError(message)
    return data
