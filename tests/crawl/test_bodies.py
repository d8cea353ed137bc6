"""Test that several threads copy the bodies of a crawl into the same tars that one thread would write."""

import hashlib
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.crawl.body_tars import BodyTars
from pipeline.crawl.journal import Journal
from pipeline.errors import InputError
from pipeline.tables.blob_store import BlobLocation, TarStore
from pipeline.tables.contracts import CRAWLED_FOLDER
from tests.crawl.test_journal import make_response

CONTENTS = st.lists(st.binary(max_size=3) | st.sampled_from([b"a" * 700, b"b" * 3000, b"c" * 512]), max_size=12)


def copy(folder: Path, contents: list[bytes]) -> tuple[list[BlobLocation], int]:
    """Store the contents in a journal, the last first, and copy them; return their locations and the number written."""
    with Journal(folder / "answers") as journal:
        for number in reversed(range(len(contents))):
            journal.write(f"{number}", make_response(contents[number]))
        bodies = BodyTars(journal.folder)
        found = [journal.find_body(f"{number}") for number in range(len(contents))]
        locations = [bodies.plan(f"http://x/{number}", body) for number, body in enumerate(found) if body is not None]
        (folder / "made").mkdir()
        return locations, sum(bodies.write(folder / "made"))


@given(CONTENTS)
def test_bodies_are_copied_into_the_tars_that_a_store_writes(contents: list[bytes]) -> None:
    """With tars of 2 kB, so that there are several; each different body is stored once."""
    with tempfile.TemporaryDirectory() as temporary, pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.tables.blob_store.MAX_TAR_BYTES", 2000)
        folder = Path(temporary)
        with TarStore(folder / "stored", CRAWLED_FOLDER, "responses") as store:
            stored = {body: store.write(hashlib.sha256(body).hexdigest(), body) for body in dict.fromkeys(contents)}
        locations, written = copy(folder, contents)
        assert locations == [stored[body] for body in contents]
        assert written == len(stored)
        made = {path.name: path.read_bytes() for path in (folder / "made").iterdir()}
        assert made == {path.name: path.read_bytes() for path in (folder / "stored").glob("*")}


@pytest.mark.parametrize("damage", ["bit", "cut", "gone"])
def test_a_missing_or_damaged_body_is_named_by_its_url(tmp_path: Path, damage: str) -> None:
    with Journal(tmp_path / "answers") as journal:
        for number in range(3):
            journal.write(f"{number}", make_response(bytes([number]) * 5000))
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
    with Journal(tmp_path / "answers") as journal:  # the next run requests it again
        readable = [journal.read(f"{number}") is not None for number in range(3)]
    assert readable == ([False] * 3 if damage == "gone" else [True, True, False])
