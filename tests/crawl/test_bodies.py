"""The bodies of a crawl: copied by several threads into the tars that one thread would write one after the other."""

import hashlib
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.crawl.journal import BodyTars, Journal
from pipeline.errors import InputError
from pipeline.tables.blob_store import BlobLocation, TarStore
from pipeline.tables.contracts import CRAWLED_FOLDER
from tests.crawl.test_journal import make_exchange

CONTENTS = st.lists(st.binary(max_size=3) | st.sampled_from([b"a" * 700, b"b" * 3000, b"c" * 512]), max_size=12)


def copy(folder: Path, contents: list[bytes]) -> tuple[list[BlobLocation], int]:
    """Keep the contents in a journal, the last first, and copy them: where to, and how many were written."""
    with Journal(folder / "answers") as journal:
        for number in reversed(range(len(contents))):
            journal.write(f"{number}", make_exchange(contents[number]))
        bodies = BodyTars(journal.folder)
        found = [journal.find_body(f"{number}") for number in range(len(contents))]
        places = [bodies.plan(f"http://x/{number}", body) for number, body in enumerate(found) if body is not None]
        (folder / "made").mkdir()
        return places, sum(bodies.write(folder / "made"))


@given(CONTENTS)
def test_they_are_the_tars_of_a_store(contents: list[bytes]) -> None:
    """With tars of 2 kB, so that there are some; each different body stands there once."""
    with tempfile.TemporaryDirectory() as temporary, pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.tables.blob_store.MAX_TAR_BYTES", 2000)
        folder = Path(temporary)
        with TarStore(folder / "stored", CRAWLED_FOLDER, "responses") as store:
            stored = {body: store.write(hashlib.sha256(body).hexdigest(), body) for body in dict.fromkeys(contents)}
        places, written = copy(folder, contents)
        assert places == [stored[body] for body in contents]
        assert written == len(stored)
        made = {path.name: path.read_bytes() for path in (folder / "made").iterdir()}
        assert made == {path.name: path.read_bytes() for path in (folder / "stored").glob("*")}


@pytest.mark.parametrize("damage", ["bit", "cut", "gone"])
def test_a_body_that_is_lost_is_named(tmp_path: Path, damage: str) -> None:
    with Journal(tmp_path / "answers") as journal:
        for number in range(3):
            journal.write(f"{number}", make_exchange(bytes([number]) * 5000))
    (path,) = (tmp_path / "answers").iterdir()
    content = path.read_bytes()
    with Journal(tmp_path / "answers") as journal:
        bodies = BodyTars(journal.folder)
        for number in range(3):
            body = journal.find_body(f"{number}")
            assert body is not None
            bodies.plan(f"http://x/{number}", body)
        if damage == "gone":
            path.unlink()
        else:
            path.write_bytes(content[:-10] if damage == "cut" else content[:-10] + b"!" + content[-9:])
        lost = "http://x/0" if damage == "gone" else "http://x/2"
        with pytest.raises(
            InputError, match=f"the response of {lost} is missing in the cache, or damaged: run the stage again"
        ):
            list(bodies.write(tmp_path))
    with Journal(tmp_path / "answers") as journal:  # the next run asks for it again
        kept = [journal.read(f"{number}") is not None for number in range(3)]
    assert kept == ([False] * 3 if damage == "gone" else [True, True, False])
