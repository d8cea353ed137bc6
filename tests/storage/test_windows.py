"""Windows of shards: the same bytes at the same addresses, reused memory, errors of damaged samples only."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from shardwright import DamageError, ShardDataset
from shardwright.datasets.read_context import ReadContext
from shardwright.loading.block_shuffle import BlockOrder
from shardwright.remote.location import Access
from shardwright.storage.descriptors import Descriptors
from shardwright.storage.file_set import FileSet
from shardwright.storage.read_plan import GAP, PAGE, PIECE, cut_pieces, merge_ranges
from shardwright.storage.window_memory import WindowMemory
from shardwright.storage.windows import join_windows, load_window
from tests.support.access_files import (
    OPENERS,
    Stored,
    access_ways,
    find_shard_path,
    put_folder,
    remove,
    write_stored,
)
from tests.support.shard_samples import KINDS, assert_same_arrays, find_member, write_small

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Stored:
    import_module("torch")  # takes seconds, which would count for the first example
    return write_stored(tmp_path_factory.mktemp("stored"))


@pytest.fixture(params=["fits memory", "exceeds memory"])
def in_memory(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows of a set that fits into memory, and of one that does not, which is read directly from the disk."""
    monkeypatch.setattr(Descriptors, "exceed_memory", request.param == "exceeds memory")


@st.composite
def ranges_of(draw: st.DrawFn, sizes: list[int]) -> list[tuple[int, int, int]]:
    """Draw (file, offset, size) of ranges that do not overlap, ascending."""
    found = []
    for number, limit in enumerate(sizes):
        cuts = sorted(draw(st.sets(st.integers(0, limit // 512), max_size=8)))
        pairs = list(zip(cuts[::2], cuts[1::2], strict=False))
        found += [(number, 512 * start, 512 * (stop - start)) for start, stop in pairs]
    return found


@access_ways
@given(data=st.data(), exceeds=st.booleans(), apart=st.integers(1, 3))
@settings(max_examples=60)
def test_windows_have_the_same_bytes_at_the_same_addresses_and_no_others(
    stored: Stored, access: Access, data: st.DataObject, exceeds: bool, apart: int
) -> None:
    ranges = data.draw(ranges_of(stored.sizes))
    files = stored.open(access)
    descriptors = Descriptors(stored.paths, stored.sizes, files.starts)
    descriptors.exceed_memory = exceeds
    memory = WindowMemory()
    windows: list[FileSet] = []
    for part in range(apart):
        mine = ranges[part::apart]
        starts = np.array([files.starts[number] + offset for number, offset, _ in mine], np.int64)
        windows.append(load_window(descriptors, starts, np.array([size for *_, size in mine], np.int64), memory))
    window = join_windows(windows)
    assert not window.checked_once
    np.testing.assert_array_equal(window.starts, files.starts)
    order = data.draw(st.permutations(ranges))
    for out in (None, np.empty((len(order), 512), np.uint8)):
        starts = np.array([files.starts[number] + offset for number, offset, _ in order], np.int64)
        found = window.gather(starts, 512, out)
        assert [row.tobytes() for row in found] == [stored.contents[n][at : at + 512] for n, at, _ in order]
    starts = np.array([files.starts[number] + offset for number, offset, _ in order], np.int64)
    sizes = np.array([size - at % 100 for at, (*_, size) in enumerate(order)], np.int64)
    for way in (window, files):
        parts = [part.tobytes() for part in way.read_ranges(starts, sizes)]
        expected = zip(order, sizes.tolist(), strict=True)
        assert parts == [stored.contents[n][at : at + size] for (n, at, _), size in expected]
    for number, offset, size in ranges:
        start = int(files.starts[number]) + offset
        assert window.read(start, size) == stored.contents[number][offset : offset + size]
    outside = int(files.starts[-1]) + stored.sizes[-1]
    with pytest.raises(IndexError, match="window"):
        window.read(outside, 64)
    files.close()
    window.close()
    if ranges:
        with pytest.raises(ValueError, match="closed"):
            window.read(int(files.starts[ranges[0][0]]) + ranges[0][1], 1)


@access_ways
def test_a_row_between_two_windows_is_in_neither(stored: Stored, access: Access) -> None:
    files = stored.open(access)
    base = int(files.starts[2])
    windows = [files.load(np.array([base + at]), np.array([1024])) for at in (0, 1024)]
    joined = join_windows(windows)
    assert joined.read(base + 1024, 1024) == stored.contents[2][1024:2048]
    with pytest.raises(IndexError, match="none of these windows"):
        joined.read(base + 512, 1024)
    with pytest.raises(TypeError, match=r"MappedFiles|PreadFiles"):
        join_windows([windows[0], files])


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 40_000), st.integers(1, 20_000)), max_size=30))
def test_pieces_read_each_range_once_in_whole_pages(drawn: list[tuple[int, int, int]]) -> None:
    files, offsets, sizes = [], [], []
    for file in range(3):
        end = 0
        for gap, size in ((gap, size) for number, gap, size in drawn if number == file):
            files.append(file)
            offsets.append(512 * (end + gap % 300))
            sizes.append(512 * size)
            end = offsets[-1] // 512 + size
    starts = np.array(files, np.int64) * (1 << 40) + np.array(offsets, np.int64)
    ranges = np.array(files, np.int64), np.array(offsets, np.int64), starts, np.array(sizes, np.int64)
    merged = merge_ranges(*ranges)
    pieces = cut_pieces(merged)
    found = merged.find(starts, 512)
    for (file, offset, size), memory_offset in zip(zip(files, offsets, sizes, strict=True), found, strict=True):
        mine = [p for p in pieces if p.file == file and p.offset < offset + size and p.offset + p.needed > offset]
        assert sum(min(offset + size, p.offset + p.needed) - max(offset, p.offset) for p in mine) == size
        assert mine[0].memory_offset + offset - mine[0].offset == memory_offset
    end = 0
    for piece in pieces:
        assert not any(number % PAGE for number in (piece.offset, piece.memory_offset, piece.size))
        assert piece.size - PAGE < piece.needed <= piece.size <= PIECE
        assert piece.memory_offset == end
        end += piece.size
    exact = merge_ranges(*ranges, gap=0)
    assert (exact.stops - exact.starts).sum() == sum(sizes)
    assert len(exact.starts) - len(merged.starts) == sum(
        0 < later[1] - former[1] - former[2] <= GAP
        for former, later in zip(*[list(zip(files, offsets, sizes, strict=True))[k:] for k in (0, 1)], strict=False)
        if former[0] == later[0]
    )


@pytest.mark.usefixtures("in_memory")
@pytest.mark.parametrize("kind", KINDS)
@access_ways
def test_batches_are_the_same_with_every_access_and_order(tmp_path: Path, access: Access, kind: str) -> None:
    samples = write_small(tmp_path, 30, samples_per_shard=7, fields=KINDS[kind])
    with ShardDataset(tmp_path, "train", access=access) as data:
        order = BlockOrder(data.cut_blocks(8192), len(data), 3, 1, 2, True)
        assert order.windows > 2
        windows = [data.open_window(order.list_rows(number)) for number in range(order.windows)]
        for first in range(0, 30, 8):
            positions = np.arange(first, min(30, first + 8))
            rows = order.find_rows(positions)
            files = join_windows([windows[number] for number in np.unique(order.find_windows(positions))])
            for batch in (data.gather(rows, ReadContext(files=files)), data.gather(rows)):
                assert batch["key"] == [samples[row].key for row in rows]
                for at, row in enumerate(rows):
                    assert_same_arrays({name: batch[name][at] for name in data.fields}, samples[row].arrays)
        assert [data.meta(row)["n"] for row in (0, 29)] == [0, 29]


@pytest.mark.usefixtures("in_memory")
@access_ways
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("spoil", ["cut", "gone", "folder"])
def test_damage_in_a_window_affects_only_its_samples(tmp_path: Path, access: Access, spoil: str, kind: str) -> None:
    write_small(tmp_path, 20, samples_per_shard=5, fields=KINDS[kind])
    with ShardDataset(tmp_path, "train", access=access) as data:
        path = find_shard_path(data, 7)
        suffix = KINDS[kind]["image"].suffix
        size = find_member(path, f"train-007.image.{suffix}")[0] + 188  # just after its first header
        whole = [5, 6] if spoil == "cut" else []
        expected = data.gather([0, *whole, 12])
        if spoil == "cut":
            os.truncate(path, size)
        else:
            (remove if spoil == "gone" else put_folder)(path)
        window = data.open_window(np.arange(20))
        for _ in range(2):
            found = data.gather([0, *whole, 12], ReadContext(files=window))
            assert_same_arrays(found, {name: expected[name] for name in data.fields})
            for row in {5, 6, 7, 8, 9} - set(whole):
                with pytest.raises(DamageError, match=path.name) as caught:
                    data.gather([0, row], ReadContext(files=window))
                assert caught.value.shard == path.name
                assert spoil != "cut" or (caught.value.offset is not None and caught.value.offset >= size)


def test_windows_reuse_the_memory_of_released_windows_only(stored: Stored) -> None:
    descriptors = Descriptors(stored.paths, stored.sizes, np.cumsum([0, *stored.sizes[:-1]]))
    memory = WindowMemory()

    def load() -> FileSet:
        return load_window(descriptors, descriptors.starts, np.array(stored.sizes), memory)

    def find_address(window: Any) -> int:
        address: int = window._memory.array.ctypes.data
        return address

    first, second = load(), load()
    addresses = {find_address(first), find_address(second)}
    assert len(addresses) == 2
    held = second.gather(descriptors.starts[:1], 512).copy()
    del first
    third = load()
    assert find_address(third) in addresses
    second.close()
    third.close()
    fourth = load()
    assert find_address(fourth) in addresses
    assert fourth.gather(descriptors.starts[:1], 512).tobytes() == held.tobytes()
    memory.clear()
    fourth.close()
    assert find_address(load()) not in addresses or not memory._spare


def test_a_window_closed_during_a_read_keeps_its_memory_until_the_end(stored: Stored) -> None:
    files, stop, wrong = stored.open("map"), threading.Event(), []
    start, content = int(files.starts[2]), stored.contents[2]
    current: list[FileSet] = [files.load(np.array([start]), np.array([len(content)]))]

    def read() -> None:
        while not stop.is_set():
            try:
                if current[0].read(start, len(content)) != content:
                    wrong.append("other bytes")
            except ValueError:
                pass  # was just closed

    def overwrite(window: FileSet) -> None:
        window.close()
        other = files.load(files.starts[:1], np.array([stored.sizes[0]]))
        other.close()

    with ThreadPoolExecutor(3) as pool:
        done = [pool.submit(read) for _ in range(3)]
        for _ in range(300):
            before, current[0] = current[0], files.load(np.array([start]), np.array([len(content)]))
            overwrite(before)
        stop.set()
        for future in done:
            future.result()
    assert not wrong
    files.close()


def test_without_direct_reads_the_page_cache_is_used(stored: Stored, tmp_path: Path) -> None:
    descriptors = Descriptors([*stored.paths, tmp_path / "gone"], [*stored.sizes, 512], np.arange(6) << 20)
    page = np.empty(2 * PAGE, np.uint8)
    aligned = page[-page.ctypes.data % PAGE :][:PAGE]
    assert descriptors.read_direct(0, aligned.data, 0) in (0, PAGE)
    assert descriptors.read_direct(0, aligned[1:].data, 1) in (0, PAGE - 1), "a disk that minds no alignment, or none"
    assert descriptors.read_direct(5, aligned.data, 0) == 0


def test_an_empty_window(stored: Stored) -> None:
    nothing: NDArray[np.int64] = np.zeros(0, np.int64)
    for access in OPENERS:
        files = stored.open(access)
        window = files.load(nothing, nothing)
        assert window.gather(nothing, 5).shape == (0, 5)
        with pytest.raises(IndexError):
            window.read(0, 1)
        files.close()
