"""Write responses into WARC files, in their order, compressed by several threads."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO

from pipeline.crawl.http_request import HttpResponse, Transcript
from pipeline.crawl.robots import MAX_ROBOTS_BYTES
from pipeline.crawl.warc.captures import Capture
from pipeline.crawl.warc.records import encode_capture, encode_info
from pipeline.errors import InputError

WARC_FOLDER = "warc"
MAX_FILE_BYTES = 1 << 30
"""After which another file begins, as the specification recommends (annex C)."""

THREADS = 4
"""That compress: they work without Python's lock."""

MAX_WAITING = 64
MAX_WAITING_BYTES = 64 << 20
"""Bounds of the responses in memory, besides one of the largest."""


class WarcWriter:
    """Writes `crawl-000000.warc.gz`, … into a folder.

    Attributes:
        left_out: how many responses are not written, as an older version stored them without what was sent for them.
    """

    def __init__(self, folder: Path, agent: str) -> None:
        self.left_out = 0
        self._folder = folder
        self._agent = agent
        self._files = 0
        self._file: IO[bytes] | None = None
        self._waiting: deque[tuple[Future[bytes], int, int]] = deque()  # each with its time and size
        self._waiting_bytes = 0

    def write(self, captures: Iterable[Capture], read: Callable[[Capture], HttpResponse | None]) -> Iterator[int]:
        """Write the responses that `read` returns, and yield 1 for each.

        Raises:
            InputError: a response is missing, or damaged; the message names its URL.
        """
        self._folder.mkdir()
        with ThreadPoolExecutor(THREADS, "crawl-warc") as pool:
            try:
                for capture in captures:
                    self._add(capture, read(capture), pool)
                    yield 1
                self._write_waiting(0, 0)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
            finally:
                if self._file is not None:
                    self._file.close()

    def _add(self, capture: Capture, response: HttpResponse | None, pool: ThreadPoolExecutor) -> None:
        if response is None:
            raise InputError(f"the response of {capture.url} is missing in the cache, or damaged: run the stage again")
        if response.transcript is None:
            self.left_out += 1
            return
        size = len(response.body)
        self._write_waiting(MAX_WAITING - 1, MAX_WAITING_BYTES - size)
        transcript: Transcript = response.transcript
        cut = capture.robots and size >= MAX_ROBOTS_BYTES
        encoded = pool.submit(encode_capture, capture.url, response, transcript, capture.via, cut)
        self._waiting.append((encoded, transcript.received, size))
        self._waiting_bytes += size

    def _write_waiting(self, count: int, size: int) -> None:
        """Write records until that many are left, with that many bytes, or none."""
        while self._waiting and (len(self._waiting) > count or self._waiting_bytes > size):
            encoded, received, written = self._waiting.popleft()
            self._waiting_bytes -= written
            self._find_file(received).write(encoded.result())

    def _find_file(self, received: int) -> IO[bytes]:
        if self._file is not None and self._file.tell() >= MAX_FILE_BYTES:
            self._file.close()
            self._file = None
        if self._file is None:
            name = f"crawl-{self._files:06d}.warc.gz"
            self._files += 1
            self._file = (self._folder / name).open("xb")
            self._file.write(encode_info(name, self._agent, received))
        return self._file
