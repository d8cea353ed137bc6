"""Maps and system calls read the same bytes of shards, and report files that were changed."""

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardwright import DamageError, ShardDataset
from shardwright.datasets.read_context import ReadContext
from shardwright.remote.location import Access
from shardwright.storage.descriptors import MOST_OPEN, Descriptors
from shardwright.storage.memory_limit import find_memory_limit
from shardwright.storage.window_memory import WindowMemory
from shardwright.storage.windows import load_window
from tests.support.access_files import (
    OPENERS,
    Stored,
    access_ways,
    count_descriptors,
    cut,
    find_shard_path,
    lengthen,
    put_folder,
    put_pipe,
    remove,
    write_numbers,
    write_stored,
)
from tests.support.shard_samples import write_small

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Stored:
    import_module("torch")  # takes seconds, which would count for the first example
    return write_stored(tmp_path_factory.mktemp("stored"))


def run_limited(root: Path, body: str) -> None:
    """Run lines in a process that may have 64 descriptors, with `root`, `ShardDataset` and `np` defined."""
    lines = [
        "import os, resource, sys",
        "from pathlib import Path",
        "import numpy as np",
        "from shardwright import ShardDataset",
        "from shardwright.datasets.read_context import ReadContext",
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))",
        "root = sys.argv[1]",
        body,
    ]
    done = subprocess.run([sys.executable, "-c", "\n".join(lines), root], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@st.composite
def rows_of(draw: st.DrawFn, sizes: list[int]) -> tuple[int, list[tuple[int, int]]]:
    """Draw a size, and (file, offset) of rows of this size."""
    size = draw(st.integers(1, 5000))
    fitting = [number for number, limit in enumerate(sizes) if limit >= size]
    position = st.sampled_from(fitting).flatmap(
        lambda number: st.tuples(st.just(number), st.integers(0, (sizes[number] - size) // 64).map(lambda at: at * 64))
    )
    return size, draw(st.lists(position, max_size=20))


# Bytes


@access_ways
@pytest.mark.parametrize("into", ["fresh memory", "given memory"])
@given(data=st.data())
def test_any_rows_have_the_bytes_of_the_files(stored: Stored, access: Access, into: str, data: st.DataObject) -> None:
    size, rows = data.draw(rows_of(stored.sizes))
    files = stored.open(access)
    starts = np.array([files.starts[number] + offset for number, offset in rows], np.int64)
    out = None if into == "fresh memory" else np.full((len(rows), size), 7, np.uint8)
    found = files.gather(starts, size, out)
    assert out is None or not rows or found is out
    assert found.dtype == np.uint8
    assert found.shape == (len(rows), size)
    expected = [stored.contents[number][offset : offset + size] for number, offset in rows]
    assert [row.tobytes() for row in found] == expected
    assert [files.read(int(start), size) for start in starts] == expected
    files.close()


# Errors at opening


@access_ways
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (remove, "missing"),
        (lengthen, "2048 bytes, the manifest says 1536"),
        (cut, "1024 bytes, the manifest says 1536"),
        (put_pipe, "not a file"),
        (put_folder, "not a file"),
    ],
)
def test_a_file_that_differs_from_the_manifest_is_reported_at_opening(
    tmp_path: Path, access: Access, spoil: Callable[[Path], None], message: str
) -> None:
    paths = [tmp_path / name for name in ("a.tar", "b.tar")]
    for path in paths:
        path.write_bytes(bytes(1536))
    spoil(paths[1])
    before = count_descriptors()
    with pytest.raises(DamageError, match=f"b.tar: {message}$") as caught:
        OPENERS[access](paths, [1536, 1536])
    assert caught.value.shard == "b.tar"
    assert count_descriptors() == before


@access_ways
def test_a_file_that_cannot_be_opened_is_an_error_with_its_name(tmp_path: Path, access: Access) -> None:
    path = tmp_path / "round.tar"
    path.symlink_to(path)
    with pytest.raises(OSError, match=r"round\.tar"):
        OPENERS[access]([path], [512])


# Files that change after opening


def test_a_shard_truncated_after_opening_is_reported_with_its_end(tmp_path: Path) -> None:
    write_small(tmp_path, 20, samples_per_shard=5)
    with ShardDataset(tmp_path, "train", access="pread") as data:
        data.gather(range(20))
        path = find_shard_path(data, 7)
        size = (path.stat().st_size - 1024) // 5 * 2 + 700  # in the third sample, just after its first header
        os.truncate(path, size)
        with pytest.raises(DamageError, match=rf"{path.name}: ends before byte {size}, the manifest says") as caught:
            data.gather([0, 12, 7])
        assert (caught.value.shard, caught.value.offset) == (path.name, size)
        assert len(data.gather([0, 5, 6, 12])["key"]) == 4


def test_a_shard_overwritten_in_place_is_checked_again(tmp_path: Path) -> None:
    data = ShardDataset(write_numbers(tmp_path, 6, samples_per_shard=3), "train", access="pread")
    data.gather(range(6))
    path = find_shard_path(data, 4)
    content = bytearray(path.read_bytes())
    at = content.index(bytes([4]) * 700)
    content[at] ^= 1
    with path.open("r+b") as file:
        file.write(content)
    assert data.gather([1])["number"] == [1]
    with pytest.raises(DamageError, match=r"sample '000004', block\.npy") as caught:
        data.gather([1, 4])
    assert (caught.value.shard, caught.value.sample, caught.value.field) == (path.name, "000004", "block")
    data.close()


@pytest.mark.parametrize("content", ["the same", "another"])
def test_a_shard_replaced_by_renaming_is_detected(tmp_path: Path, content: str) -> None:
    """With more shards than stay open, each of one sample, a shard that was checked is opened again by its name."""
    count = 2 * MOST_OPEN
    data = ShardDataset(write_numbers(tmp_path / "set", count), "train", access="pread")
    data.gather(range(count))
    number = 3
    path, other = find_shard_path(data, number), tmp_path / "other.tar"
    other.write_bytes((path if content == "the same" else find_shard_path(data, number + 1)).read_bytes())
    os.utime(other, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    other.replace(path)
    for row in range(count):
        if row == number and content == "another":
            with pytest.raises(DamageError, match=f"{path.name}: sample '{number:06d}'"):
                data.gather([row])
        else:
            assert data.gather([row])["number"] == [row]
    data.close()


def test_a_map_keeps_the_shards_that_it_opened(tmp_path: Path) -> None:
    data = ShardDataset(write_numbers(tmp_path, 4), "train")
    path = find_shard_path(data, 1)
    other = tmp_path / "other.tar"
    other.write_bytes(find_shard_path(data, 2).read_bytes())
    other.replace(path)
    assert data.gather([1])["number"] == [1]
    with pytest.raises(DamageError, match=f"{path.name}: sample '000001'"):
        data.gather([1], ReadContext(files=data.open_window(np.array([1, 2]))))
    data.close()


# Descriptors, threads, memory


def test_more_shards_than_a_process_has_descriptors(tmp_path: Path) -> None:
    run_limited(
        write_numbers(tmp_path, 150),
        """
for access in ("pread", "map"):
    with ShardDataset(root, "train", access=access) as data:
        rows = np.random.default_rng(0).permutation(150)
        assert data.gather(rows)["number"].tolist() == rows.tolist()
        window = data.open_window(rows)
        assert data.gather(rows, ReadContext(files=window))["number"].tolist() == rows.tolist()
        assert len(os.listdir("/proc/self/fd")) < 20
assert len(os.listdir("/proc/self/fd")) < 6
""",
    )


def test_without_free_descriptors_it_closes_its_own(tmp_path: Path) -> None:
    run_limited(
        write_numbers(tmp_path, 20),
        """
data = ShardDataset(root, "train", access="pread")
data.gather([0, 1, 2])
try:
    while True:
        os.dup(0)
except OSError:
    pass
assert data.gather(range(20))["number"].tolist() == list(range(20))
data.close()
""",
    )


@access_ways
def test_threads_read_concurrently(tmp_path: Path, access: Access) -> None:
    count = 2 * MOST_OPEN
    before = count_descriptors()
    data = ShardDataset(write_numbers(tmp_path, count), "train", access=access)

    def read(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for step in range(10):
            rows = rng.integers(0, count, 32)
            window = data.open_window(rows) if step % 2 else None
            batch = data.gather(rows, ReadContext(files=window))
            assert batch["number"].tolist() == rows.tolist()
            assert (batch["block"] == (rows % 256)[:, None]).all()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(read, range(16)))
    assert count_descriptors() <= before + MOST_OPEN + 1
    data.close()
    with pytest.raises(ValueError, match="closed"):
        data.gather([0])
    with pytest.raises(ValueError, match="closed"):
        data.open_window(np.array([0]))
    assert count_descriptors() <= before + 1, "the index stays open as long as the dataset is there"


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="wants a file that the system cannot read")
def test_a_read_error_of_the_disk_is_damage_with_its_offset() -> None:
    """The first pages of a process's memory do not exist: reading them is an input/output error, as of a bad disk."""
    path = Path("/proc/self/mem")
    descriptors = Descriptors([path], [1 << 20], np.zeros(1, np.int64))
    with pytest.raises(DamageError, match=r"mem: cannot be read at byte 512: Input/output error") as caught:
        descriptors.open(0).read_into(np.empty(64, np.uint8).data, 512)
    assert (caught.value.shard, caught.value.offset) == ("mem", 512)
    window = load_window(descriptors, np.array([4096]), np.array([512]), WindowMemory())
    with pytest.raises(DamageError, match="cannot be read at byte 4160"):
        window.read(4160, 64)


# The memory limit


def write_limits(mount: Path, limits: dict[str, str]) -> None:
    for name, text in limits.items():
        (mount / name).parent.mkdir(parents=True, exist_ok=True)
        (mount / name).write_text(text + "\n", encoding="ascii")


@pytest.mark.parametrize(
    ("groups", "limits", "expected"),
    [
        ("0::/job/step", {"job/memory.max": "5000", "job/step/memory.max": "max"}, 5000),
        ("0::/job", {"job/memory.max": "5000", "memory.max": "4000"}, 4000),
        ("0::/of/the/host", {"memory.max": "3000"}, 3000),
        ("3:cpu:/a\n2:memory:/a", {"memory/a/memory.limit_in_bytes": "2000", "cpu/a/memory.limit_in_bytes": "1"}, 2000),
        ("2:memory:/elsewhere\n0::/", {"memory/memory.limit_in_bytes": "1000"}, 1000),
        ("2:memory:/a", {"memory/a/memory.limit_in_bytes": str(2**63 - 4096)}, None),
        ("nonsense", {}, None),
        ("0::/", {}, None),
    ],
)
def test_the_memory_limit_is_the_smallest_of_the_control_groups(
    tmp_path: Path, groups: str, limits: dict[str, str], expected: int | None
) -> None:
    write_limits(tmp_path / "mount", limits)
    (tmp_path / "own").write_text(groups + "\n", encoding="ascii")
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert find_memory_limit(tmp_path / "mount", tmp_path / "own") == (expected or physical)
    assert find_memory_limit(tmp_path / "mount", tmp_path / "none") == physical
    assert 0 < find_memory_limit() <= physical
