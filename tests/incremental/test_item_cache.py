"""The item cache: an entry is found unchanged or not at all, and the cache keeps to its size."""

import errno
import io
import itertools
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.incremental.cache_key import make_keys
from pipeline.incremental.entry_reader import MAX_OPEN, EntryReader
from pipeline.incremental.evict import SMALL_BYTES, ObjectUse, evict
from pipeline.incremental.object_store import ROWS, ObjectStore
from pipeline.incremental.pack_index import DamagedError, Entry, decode_entries, decode_rows, encode_rows, lay_out
from tests.support.cached_entries import find_entries, read_found

pytestmark = pytest.mark.slow

BYTES = st.binary(max_size=40)
KEYS = st.one_of(st.binary(min_size=32, max_size=32), st.binary(max_size=2).map(lambda head: head.ljust(32, b"\0")))
ENTRIES = st.lists(
    st.builds(Entry, KEYS, st.lists(BYTES, max_size=3), st.booleans(), st.sampled_from([b"", b"known", b"rec\0rd"])),
    min_size=1,
    max_size=8,
    unique_by=lambda entry: entry.key,
)
LARGE = 1 << 40


def make_entry(number: int, size: int = 100, pieces: int = 1) -> Entry:
    """An entry whose content follows from its number."""
    draw = np.random.default_rng(number)
    return Entry(draw.bytes(32), [draw.bytes(size) for _ in range(pieces)], record=draw.bytes(5))


def open_objects(folder: Path) -> ObjectStore:
    (folder / "work").mkdir(exist_ok=True)
    return ObjectStore(folder / "cache", folder / "work")


def test_keys_differ_in_all_that_decides_and_are_zero_where_there_is_nothing_to_compute() -> None:
    rows = list(itertools.product([b"a" * 32, b"b" * 32, None], ["image", "text", "audio"], ["1", "6"], ["x/y", "x/z"]))
    columns = dict(zip(("sha256", "modality", "turn", "type"), zip(*rows, strict=True), strict=True))
    batch = pa.RecordBatch.from_pydict(columns | {"sha256": pa.array(columns["sha256"], pa.binary(32))})
    methods = {"image": b"i" * 32, "text": b"t" * 32}
    keys = [key.tobytes() for key in make_keys(batch, methods.get, ["turn", "type"])]
    known = [sha256 is not None and modality in methods for sha256, modality, *_ in rows]
    assert [any(key) for key in keys] == known
    assert len(set(keys)) == 1 + sum(known)


def publish_file(objects: ObjectStore, folder: Path, entries: Sequence[Entry], name: str) -> Path:
    """A finished file outside of the cache, which then has it too."""
    path = folder / name
    path.write_bytes(b"".join(piece for entry in entries for piece in entry.pieces))
    objects.adopt(name, path, lay_out(entries))
    return path


# What is stored is found


@given(entries=ENTRIES, absent=KEYS)
def test_stored_entries_are_found(
    entries: list[Entry], absent: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    objects = open_objects(tmp_path_factory.mktemp("cache"))
    half = len(entries) // 2
    for part in (entries[:half], entries[half:], entries[half:]):
        if part:
            objects.write_pack(part)
    expected = {entry.key: list(entry.pieces) for entry in entries}
    assert read_found(objects, [*expected, absent]) == {absent: None, **expected}
    assert len(objects.list_names()) == 1 + bool(half)
    assert list((objects.folder.parent.parent / "work").iterdir()) == []


@given(ENTRIES, st.binary(max_size=20))
def test_rows_are_read_as_they_were_written(entries: list[Entry], extra: bytes) -> None:
    laid_out = lay_out(entries)
    rows = decode_rows(encode_rows(replace(laid_out, about={"a": [1.5, "ä"]}, extra=extra)))
    assert (rows.size, rows.about, rows.extra) == (laid_out.size, {"a": [1.5, "ä"]}, extra)
    assert rows.entries.tobytes() == laid_out.entries.tobytes()
    assert rows.pieces.tobytes() == laid_out.pieces.tobytes()
    known = {entry.key: entry.record for entry in entries}
    records = map(bytes, rows.records)
    for key, record in zip(rows.entries["key"].tolist(), records, strict=True):
        assert record.rstrip(b"\0") == known[key.ljust(32, b"\0")].rstrip(b"\0")
    cache_keys = rows.entries["key"]
    assert (cache_keys[:-1] < cache_keys[1:]).all()


def test_many_objects_are_read_with_few_open_files(tmp_path: Path) -> None:
    objects = open_objects(tmp_path)
    entries = [make_entry(number) for number in range(MAX_OPEN + 10)]
    names = [objects.write_pack([entry]) for entry in entries]
    before = len(list(Path("/proc/self/fd").iterdir()))
    with EntryReader(objects) as reader:
        for _ in range(2):
            for name, entry in zip(names, entries, strict=True):
                assert reader.read(name, 0, entry.key) == entry
        assert len(list(Path("/proc/self/fd").iterdir())) <= before + MAX_OPEN
    assert len(list(Path("/proc/self/fd").iterdir())) <= before


def test_a_published_file_is_kept_under_a_second_name(tmp_path: Path) -> None:
    objects, entries = open_objects(tmp_path), [make_entry(1), make_entry(2)]
    path = publish_file(objects, tmp_path, entries, "a.tar")
    assert objects.find_path("a.tar").stat().st_ino == path.stat().st_ino
    objects.write_pack(entries)
    found = find_entries(objects, [entry.key for entry in entries])
    assert {name for name, _ in found.values()} == {"a.tar"}, "packs may go at any time"
    path.unlink()
    assert read_found(objects, [entries[0].key]) == {entries[0].key: list(entries[0].pieces)}


@pytest.mark.parametrize("refusal", [errno.EXDEV, errno.EPERM, errno.EMLINK])
def test_a_file_that_cannot_be_linked_is_copied(refusal: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(refusal, os.strerror(refusal))

    monkeypatch.setattr(os, "link", refuse)
    objects, entry = open_objects(tmp_path), make_entry(1)
    path = publish_file(objects, tmp_path, [entry], "a.tar")
    assert objects.find_path("a.tar").stat().st_ino != path.stat().st_ino
    assert read_found(objects, [entry.key]) == {entry.key: list(entry.pieces)}


# Damage


@settings(max_examples=60)
@given(ENTRIES, st.data())
def test_rows_with_one_bit_changed_are_damaged(entries: list[Entry], data: st.DataObject) -> None:
    content = bytearray(encode_rows(lay_out(entries)))
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(DamagedError):
        decode_rows(bytes(content))
    with pytest.raises(DamagedError):
        decode_rows(bytes(content[:place]))


@settings(max_examples=60)
@given(ENTRIES, st.data())
def test_entries_are_read_alone_and_one_changed_bit_in_them_is_noticed(
    entries: list[Entry], data: st.DataObject
) -> None:
    rows = lay_out(entries)
    content = bytearray(encode_rows(rows))
    file = io.BytesIO(content)
    size, found = decode_entries(file)
    assert (size, found.tobytes()) == (rows.size, rows.entries.tobytes())
    place = data.draw(st.integers(0, file.tell() - 1))
    content[place] ^= 1 << data.draw(st.integers(0, 7))
    for damaged in (content, content[:place]):
        with pytest.raises(DamagedError):
            decode_entries(io.BytesIO(damaged))


def test_every_damaged_byte_is_noticed_and_the_other_entries_stay(tmp_path: Path) -> None:
    objects = open_objects(tmp_path)
    entries = [make_entry(number, size=8, pieces=2) for number in range(4)]
    path = objects.find_path(objects.write_pack(entries))
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 16]) + whole[place + 1 :])
        read = read_found(objects, [entry.key for entry in entries])
        hit = place // 16
        for number, entry in enumerate(entries):
            assert read[entry.key] == (None if number == hit else list(entry.pieces))


@pytest.mark.parametrize("damage", ["cut", "longer", "gone", "no rows", "cut rows", "empty rows"])
def test_a_damaged_object_is_not_used(damage: str, tmp_path: Path) -> None:
    objects, entry = open_objects(tmp_path), make_entry(1)
    name = objects.write_pack([entry])
    path, rows = objects.find_path(name), objects.folder / f"{name}{ROWS}"
    match damage:
        case "cut":
            path.write_bytes(path.read_bytes()[:-1])
        case "longer":
            path.write_bytes(path.read_bytes() + b"x")
        case "gone":
            path.unlink()
        case "no rows":
            rows.unlink()
        case "cut rows":
            rows.write_bytes(rows.read_bytes()[:40])
        case "empty rows":
            rows.write_bytes(b"")
    assert read_found(objects, [entry.key]) == {entry.key: None}
    objects.write_pack([entry])
    assert read_found(objects, [entry.key]) == {entry.key: list(entry.pieces)}


def test_another_object_in_its_place_is_noticed(tmp_path: Path) -> None:
    objects, one, other = open_objects(tmp_path), make_entry(1), make_entry(2)
    first, second = objects.write_pack([one]), objects.write_pack([other])
    with EntryReader(objects) as reader:
        for row, key in ((0, one.key), (1, other.key)):
            with pytest.raises(DamagedError):
                reader.read(second, row, key)
        assert reader.read(first, 0, one.key) == one


# Pruning


@settings(max_examples=40)
@given(data=st.data())
def test_eviction_removes_only_duplicate_entries(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("evict")
    objects, entries = open_objects(folder), [make_entry(number) for number in range(12)]
    some = st.lists(st.sampled_from(entries), min_size=1, max_size=6, unique_by=lambda entry: entry.key)
    names = {objects.write_pack(pack) for pack in data.draw(st.lists(some, min_size=1, max_size=5))}
    published = data.draw(some)
    publish_file(objects, folder, published, "a.tar")
    before = read_found(objects, [entry.key for entry in entries])
    assert evict(objects, ObjectUse(published={"a.tar"}, touched=names | {"a.tar"}), LARGE) == 0
    assert read_found(objects, [entry.key for entry in entries]) == before
    left = objects.list_names()
    assert "a.tar" in left
    assert len(left) <= 2, "small packs are put together"
    known, packs = {entry.key for entry in published}, [name for name in left if name != "a.tar"]
    assert not any(set(objects.read_rows(name).entries["key"].tolist()) & known for name in packs)


def test_a_damaged_object_loses_its_damaged_entries_alone(tmp_path: Path) -> None:
    objects, entries = open_objects(tmp_path), [make_entry(number) for number in range(3)]
    name = objects.write_pack(entries)
    path = objects.find_path(name)
    path.write_bytes(b"?" + path.read_bytes()[1:])
    evict(objects, ObjectUse(damaged={name}), LARGE)
    assert name not in objects.list_names()
    read = read_found(objects, [entry.key for entry in entries])
    assert [read[entry.key] is None for entry in entries] == [True, False, False]


def test_a_pack_that_is_mostly_needed_stays_as_it_is(tmp_path: Path) -> None:
    objects = open_objects(tmp_path)
    entries = [make_entry(number, SMALL_BYTES // 2) for number in range(5)]
    name = objects.write_pack(entries)
    publish_file(objects, tmp_path, entries[:2], "a.tar")
    evict(objects, ObjectUse({"a.tar"}, {name}), LARGE)
    assert name in objects.list_names()
    publish_file(objects, tmp_path, entries[:3], "b.tar")
    evict(objects, ObjectUse({"b.tar"}, {name}), LARGE)
    assert name not in objects.list_names()
    assert all(read_found(objects, [entry.key for entry in entries]).values())


def test_the_least_recently_used_objects_are_evicted_first(tmp_path: Path) -> None:
    objects = open_objects(tmp_path)
    entries = [make_entry(number, 2 * SMALL_BYTES) for number in range(4)]
    names = [objects.write_pack([entry]) for entry in entries]
    for age, name in enumerate([names[2], names[0], names[3], names[1]]):
        os.utime(objects.folder / f"{name}{ROWS}", (1000 + age, 1000 + age))
    assert evict(objects, ObjectUse(touched={names[2]}), int(6.5 * SMALL_BYTES)) == 0
    assert set(objects.list_names()) == {names[1], names[2], names[3]}
    assert evict(objects, ObjectUse(), int(4.5 * SMALL_BYTES)) == 0
    assert set(objects.list_names()) == {names[1], names[2]}
    assert evict(objects, ObjectUse(touched=set(names)), 0) > 4 * SMALL_BYTES
    assert objects.list_names() == []


def test_leftovers_of_killed_runs_are_removed(tmp_path: Path) -> None:
    objects, entry = open_objects(tmp_path), make_entry(1)
    name = objects.write_pack([entry])
    (objects.folder / "0123.pack").write_bytes(b"no rows")
    (objects.folder / "4567.tar.rows").write_bytes(b"no object")
    evict(objects, ObjectUse(touched={name}), LARGE)
    assert sorted(path.name for path in objects.folder.iterdir()) == [".lock", name, f"{name}{ROWS}"]


def test_nothing_is_evicted_while_another_stage_reads(tmp_path: Path) -> None:
    objects, entry = open_objects(tmp_path), make_entry(1)
    name = objects.write_pack([entry])
    with objects.hold(), objects.hold():
        assert evict(objects, ObjectUse(), 0) == 0
        assert objects.list_names() == [name]
    evict(objects, ObjectUse(), 0)
    assert objects.list_names() == []


# Several processes


def work_on_cache(folder: Path, seed: int, ends: Any) -> None:
    """What a stage does, many times: find, read, compute what is missing, prune. Whatever is read must be right."""
    objects, draw = ObjectStore(folder / "cache", folder / "work"), np.random.default_rng(seed)
    for _ in range(60):
        entries = [make_entry(number, 4000) for number in draw.choice(40, 6, replace=False).tolist()]
        with objects.hold():
            read = read_found(objects, [entry.key for entry in entries])
            for entry in entries:
                assert read[entry.key] in (None, list(entry.pieces))
            missing = [entry for entry in entries if read[entry.key] is None]
            names = {objects.write_pack(missing)} if missing else set()
            reread = read_found(objects, [entry.key for entry in entries])
            assert None not in reread.values(), "while it is held nothing goes"
        used = {name for name, _ in find_entries(objects, [entry.key for entry in entries]).values()}
        evict(objects, ObjectUse(touched=names | used), 60_000)
    ends.put(seed)


def test_several_stages_may_share_a_cache(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    context = multiprocessing.get_context("spawn")
    ends = context.SimpleQueue()
    workers = [context.Process(target=work_on_cache, args=(tmp_path, seed, ends)) for seed in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(600)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert sorted(ends.get() for _ in workers) == [0, 1, 2]
    assert list((tmp_path / "work").iterdir()) == []


# Disks that fail


def count_calls(names: Sequence[str], monkeypatch: pytest.MonkeyPatch, fail_at: int) -> Callable[[], int]:
    """Let the call number `fail_at` of any of these functions of `os` fail; gives how many there were."""
    calls = 0

    def wrap(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == fail_at:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return function(*arguments, **options)

        return call

    for name in names:
        monkeypatch.setattr(os, name, wrap(getattr(os, name)))
    return lambda: calls


def walk_failures() -> Iterator[int]:
    yield from range(1, 100)


def test_a_failure_at_any_call_leaves_the_cache_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [make_entry(number) for number in range(4)]
    for fail_at in walk_failures():
        folder = tmp_path / str(fail_at)
        folder.mkdir()
        objects = open_objects(folder)
        with monkeypatch.context() as patch:
            count = count_calls(["rename", "link", "open", "utime", "unlink"], patch, fail_at)
            try:
                name = objects.write_pack(entries)
                publish_file(objects, folder, entries[:2], "a.tar")
                evict(objects, ObjectUse({"a.tar"}, {name}), LARGE)
                done = True
            except OSError:
                done = False
        for entry in entries:
            read = read_found(objects, [entry.key])[entry.key]
            assert read in (None, list(entry.pieces))
        assert list((folder / "work").iterdir()) == [] or not done
        if done and count() < fail_at:
            assert all(read_found(objects, [entry.key for entry in entries]).values())
            return
    pytest.fail("it never ended")
