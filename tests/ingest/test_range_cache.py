"""Files that have not changed are not read again, and nothing else depends on that."""

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.ingest import list_files
from pipeline.ingest.sources import folder
from pipeline.ingest.step import ingest
from pipeline.list.step import list_inputs
from pipeline.tables.contracts import INGESTED_FOLDER
from pipeline.tables.drops import Reason, Rejection
from tests.support.ingesting import Ingest, Response, make_image, make_params, make_workspace, write_crawl, write_files
from tests.support.stage_folders import hash_folder

pytestmark = pytest.mark.slow

FILES: dict[str, bytes | str] = {f"{number % 3}/{number}.png": make_image(number) for number in range(20)}
FILES |= {f"{number}.txt": f"text {number % 4}" for number in range(6)}
PAGE = "<html><head><meta name=kind content=frog></head><body><figcaption>a frog</figcaption></body></html>"


@pytest.fixture(autouse=True)
def small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(list_files, "RANGE_FILES", 6)


class Corpus:
    """A folder of files and a crawl, ingested again and again with one cache."""

    def __init__(self, folder: Path) -> None:
        self.root = write_files(folder / "inbox", {**FILES, "empty.txt": "", "noise": b"\0\1"})
        self.folder = folder
        self._runs: Iterator[int] = iter(range(1000))

    def run(self, cache: str = "cache", **run: Any) -> Ingest:
        """Ingest all."""
        data = self.folder / f"run-{next(self._runs)}"
        write_crawl(data, [Response("http://a.test/frog.html", PAGE)])
        workspace = make_workspace(data, **run)
        workspace, params = replace(workspace, cache=self.folder / cache), make_params(root=str(self.root))
        list_inputs(params, workspace)
        outcome = ingest(params, workspace)
        return Ingest(outcome, data / INGESTED_FOLDER, data)

    def check(self, least: int) -> None:
        """Check that all is as without a cache, and that so many files at least were not read."""
        reused = self.run()
        assert count_unchanged(reused) >= least
        assert hash_folder(reused.folder) == hash_folder(self.run(f"fresh-{next(self._runs)}").folder)


def count_unchanged(result: Ingest) -> int:
    """How many files were not read again, by the notes."""
    (note,) = [note for note in result.outcome.notes if "not changed" in note] or ["0 files"]
    return int(note.split()[0])


def write(path: str, content: bytes) -> Callable[[Path], object]:
    return lambda root: (root / path).write_bytes(content)


def hide_edit(root: Path) -> None:
    """Change a file without another size or time."""
    path = root / "0.txt"
    before = path.stat()
    path.write_bytes(b"Text 9")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)


EDITS: dict[str, Callable[[Path], object]] = {
    "a new file": write("0/99.png", make_image(99)),
    "a new content": write("1/4.png", make_image(77)),
    "an equal size and time": hide_edit,
    "a repeated content": write("1/4.png", make_image(5)),
    "a file less": lambda root: (root / "2/8.png").unlink(),
    "another name": lambda root: (root / "2/11.png").rename(root / "2/11b.png"),
    "a text that is empty now": write("2.txt", b""),
}


def test_what_has_not_changed_is_not_read_again(tmp_path: Path) -> None:
    corpus = Corpus(tmp_path)
    assert count_unchanged(corpus.run()) == 0
    for edit in EDITS.values():
        edit(corpus.root)
        corpus.check(least=10)
    assert count_unchanged(corpus.run()) == len(corpus.run().rows) + len(corpus.run().drops)


@pytest.mark.parametrize("ending", [".tar", ".rows"])
def test_damage_is_noticed(ending: str, tmp_path: Path) -> None:
    corpus = Corpus(tmp_path)
    corpus.run()
    for path in (tmp_path / "cache/objects").glob(f"*{ending}"):
        content = bytearray(path.read_bytes())
        with suppress(IndexError):  # of a range without a tar
            content[len(content) // 2] ^= 1
        path.unlink()
        path.write_bytes(content)
    corpus.check(least=0)
    corpus.check(least=len(FILES))


def test_a_file_that_could_not_be_read_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = Corpus(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(folder, "read_file", lambda path, follow: Rejection(Reason.UNREADABLE, "the file cannot be read"))
        assert len(corpus.run().rows) == 1
    assert len(corpus.run().rows) > len(FILES)


def test_a_corpus_that_would_fill_the_cache_is_not_kept(tmp_path: Path) -> None:
    corpus = Corpus(tmp_path)
    for _ in range(2):
        assert count_unchanged(corpus.run(cache_bytes=1000)) == 0
