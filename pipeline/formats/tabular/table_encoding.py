"""Find the encoding of a table, as that of a text is found, and open it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

from pipeline.errors import InputError
from pipeline.formats.encodings import GUESS_BYTES, find_mark, guess_codec

UTF8 = "utf-8-sig"

_WITH_MARK = {"utf-8": UTF8, "utf-16-le": "utf-16", "utf-16-be": "utf-16", "utf-32-le": "utf-32", "utf-32-be": "utf-32"}
"""The codecs of Python that leave out a byte order mark."""


class TableEncoding(NamedTuple):
    """A codec of Python, and whether it was guessed."""

    codec: str
    guessed: bool = False


def find_encoding(path: Path, given: str | None, language: str) -> TableEncoding:
    """Return the encoding by the byte order mark, else the one that is `given`; else UTF-8 if most of the lines are
    that are not ASCII, so that a bad line costs itself; else a guess, see `pipeline.formats.encodings.decode_text`.

    Raises:
        InputError: the file is missing.
    """
    try:
        with path.open("rb") as file:
            mark = find_mark(file.read(4))
            if mark is not None:
                return TableEncoding(_WITH_MARK[mark])
            if given is not None:
                return TableEncoding(given)
            file.seek(0)
            sample, lines = _sample_other_lines(file)
    except OSError:
        raise InputError(f"{path} is missing, or not a file") from None
    guessed = guess_codec(sample, language) if lines > 0 else None
    return TableEncoding(UTF8) if guessed is None else TableEncoding(guessed, guessed=True)


def _sample_other_lines(file: IO[bytes]) -> tuple[bytes, int]:
    """Return the first lines that are not UTF-8, and how many more there are of them than of lines in UTF-8 that are
    not ASCII."""
    sample, count = bytearray(), 0
    for line in file:
        if line.isascii():
            continue
        try:
            line.decode()
            count -= 1
        except UnicodeDecodeError:
            count += 1
            if len(sample) < GUESS_BYTES:
                sample += line
    return bytes(sample), count


@contextmanager
def open_table(path: Path, codec: str, newline: str = "") -> Iterator[IO[str]]:
    """Yield a table as text. Bytes that the encoding does not have become lone surrogates, which cost their row only.

    Raises:
        InputError: the encoding cannot go on after such bytes, as UTF-16.
    """
    try:
        with path.open(encoding=codec, errors="surrogateescape", newline=newline) as file:
            yield file
    except UnicodeError:
        raise InputError(f"{path} is not text in {codec}: look at encoding in ingest.tables") from None
