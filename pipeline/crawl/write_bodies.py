"""The bodies that a crawl kept, from the journal into tars.

What goes where is planned first, in the order of the table; then several threads copy, a tar at a time. They hash and
wait for the disk without Python's lock.
"""

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

Copy = tuple[str, Body]
"""A body, and the URL that it came from first."""


class BodyTars:
    """Plans tars with each different body once. `journal` is the folder that they come from."""

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._layout = TarLayout(CRAWLED_FOLDER, "responses")
        self._places: dict[str, BlobLocation] = {}
        self._tars: dict[str, list[Copy]] = {}

    def __len__(self) -> int:
        return len(self._places)

    def plan(self, url: str, body: Body) -> BlobLocation:
        """Where the body of that URL will be."""
        place = self._places.get(body.sha256)
        if place is None:
            place = self._places[body.sha256] = self._layout.add(body.place.size)
            self._tars.setdefault(place.tar_name, []).append((url, body))
        return place

    def write(self, folder: Path) -> Iterator[int]:
        """Write the tars, and give how many bodies each has once it is there.

        Raises:
            InputError: the journal has lost a body, or it is damaged there; the message names its URL.
        """
        with ThreadPoolExecutor(THREADS, "crawl-copy") as pool:
            try:
                yield from pool.map(lambda tar: self._write_tar(folder / tar, self._tars[tar]), self._tars)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _write_tar(self, path: Path, copies: list[Copy]) -> int:
        with path.open("xb") as file, TarReader(self._journal) as journal:
            for url, body in copies:
                write_member(file, body.sha256, _read(journal, url, body))
                journal.forget(body.place)
            file.write(END)
        return len(copies)


def _read(journal: TarReader, url: str, body: Body) -> bytes:
    lost = f"the cache has lost the answer of {url}: run the stage again"
    try:
        data = journal.read(body.place)
    except InputError:
        raise InputError(lost) from None
    if hashlib.sha256(data).hexdigest() != body.sha256:
        raise InputError(lost)
    return data
