"""Growing packs: wherever their process died, the next try has the complete entries, and the pack each entry once."""

import errno
import fcntl
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.incremental import growing_pack
from pipeline.incremental.growing_pack import GrowingPack
from pipeline.incremental.object_store import ObjectStore
from pipeline.incremental.pack_index import Entry
from tests.support.cached_entries import read_pack

ENTRIES = st.lists(
    st.builds(
        Entry,
        st.binary(min_size=32, max_size=32).filter(lambda print_: print_[-1] != 0),
        st.lists(st.binary(max_size=40), min_size=1, max_size=3),
        st.booleans(),
        st.just(b"a record"),
    ),
    min_size=1,
    max_size=12,
    unique_by=lambda entry: entry.key,
)


@pytest.fixture(autouse=True)
def without_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is added is written at once."""
    monkeypatch.setattr(growing_pack, "FLUSH_SECONDS", -1.0)


def open_objects(folder: Path) -> ObjectStore:
    (folder / "work").mkdir()
    return ObjectStore(folder / "cache", folder / "work")


def index(entries: Sequence[Entry]) -> dict[bytes, Entry]:
    return {entry.key: entry for entry in entries}


def read_recovered(pack: GrowingPack) -> dict[bytes, Entry]:
    assert all(pack.rejects(key) == pack.read(key).rejected for key in pack.recovered)
    return {key: pack.read(key) for key in pack.recovered}


def start(objects: ObjectStore, entries: Sequence[Entry]) -> tuple[Path, Path]:
    """The files of a task whose process ended after these entries: the pack's and its list's."""
    with GrowingPack(objects, b"task") as pack:
        for entry in entries:
            pack.add(entry)
    listed, grown = sorted(objects.work.iterdir())
    return grown, listed


@given(entries=ENTRIES, data=st.data())
def test_complete_entries_are_used_and_the_rest_is_added(
    entries: list[Entry], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Both files are cut anywhere, or have a bit flipped, as a process, a full disk or a bad one leaves them."""
    objects = open_objects(tmp_path_factory.mktemp("cache"))
    done = data.draw(st.integers(0, len(entries)))
    for path in start(objects, entries[:done]):
        content = bytearray(path.read_bytes())
        if content and data.draw(st.booleans()):
            content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    with GrowingPack(objects, b"task") as pack:
        count = len(pack.recovered)
        assert read_recovered(pack) == index(entries[:count])
        assert count <= done
        for entry in entries[count:]:
            pack.add(entry)
        assert read_pack(objects, pack.finish()) == index(entries)
    assert list(objects.work.iterdir()) == []


@given(entries=ENTRIES, done=st.integers(0, 12))
def test_nothing_that_was_added_is_lost(
    entries: list[Entry], done: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    objects = open_objects(tmp_path_factory.mktemp("cache"))
    start(objects, entries[:done])
    with GrowingPack(objects, b"task") as pack:
        assert read_recovered(pack) == index(entries[:done])
        for entry in entries[done:]:
            pack.add(entry)
        name = pack.finish()
    assert name == objects.write_pack(entries), "as if there had been one try"
    assert read_pack(objects, name) == index(entries)


def test_two_processes_at_one_task_do_not_disturb_each_other(tmp_path: Path) -> None:
    objects, entries = open_objects(tmp_path), [Entry(bytes([n]) * 32, [b"value %d" % n]) for n in (1, 2, 3)]
    with GrowingPack(objects, b"task") as first:
        first.add(entries[0])
        with GrowingPack(objects, b"task") as second:
            assert not second.recovered
            for entry in entries:
                second.add(entry)
            name = second.finish()
        for entry in entries[1:]:
            first.add(entry)
        assert first.finish() == name
    assert read_pack(objects, name) == index(entries)
    assert list(objects.work.iterdir()) == []


def test_a_file_that_became_an_object_is_not_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other process finishes just before this one would have its file."""
    objects, entries = open_objects(tmp_path), [Entry(bytes([n]) * 32, [b"value %d" % n]) for n in (1, 2)]
    first = GrowingPack(objects, b"task")
    first.add(entries[0])
    lock = fcntl.flock
    names: list[str | None] = []

    def finish_and_lock(file: IO[bytes], how: int) -> None:
        if not names:
            names.append(first.finish())
            first.__exit__(None, None, None)
        lock(file, how)

    monkeypatch.setattr(fcntl, "flock", finish_and_lock)
    with GrowingPack(objects, b"task") as second:
        assert not second.recovered
        second.add(entries[1])
        assert read_pack(objects, names[0]) == index(entries[:1])
        assert read_pack(objects, second.finish()) == index(entries[1:])


def test_a_file_system_without_locks_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(fcntl, "flock", refuse)
    objects, entry = open_objects(tmp_path), Entry(b"1" * 32, [b"value"])
    with GrowingPack(objects, b"task") as pack:
        pack.add(entry)
        assert read_pack(objects, pack.finish()) == index([entry])
