"""A dataset at a URL has the samples of its folder, and any number of processes fetch each file once."""

import gc
import multiprocessing
import pickle
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from shardwright import DamageError, Loader, ShardDataset
from shardwright.datasets.read_context import ReadContext
from shardwright.loading.window_reader import Blocks
from shardwright.remote.settings import Remote, hide_secrets, is_url, join_url
from tests.support.loopback import Reply, Route
from tests.support.old_sets import make_old
from tests.support.remote_sets import (
    QUICK,
    Published,
    count_connections,
    count_descriptors,
    count_shards,
    find_object,
    find_url,
    flip,
    list_objects,
    list_threads,
    open_set,
    publish,
    serve_set,
)
from tests.support.waiting import PATIENCE, wait_for

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SHARD = "train/train-000002.tar"
INDEX = "train/train-000002.index.npy"
ROWS = range(12, 18)
"""The samples of this shard."""


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Published:
    return publish(tmp_path_factory.mktemp("remote"))


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def test_a_url_gives_the_samples_of_its_folder_and_fetches_each_file_once(published: Published, cache: Path) -> None:
    with serve_set(published) as site, ShardDataset(published.root, "train") as local:
        for epoch in range(2):
            with open_set(site, cache) as data:
                assert (data.hash, len(data), data.fields) == (local.hash, len(local), local.fields)
                assert list(data.keys) == list(local.keys)
                assert data.meta(-1) == local.meta(-1)
                published.check(data, np.random.default_rng(epoch).permutation(40).tolist())
                window = data.open_window(np.arange(10, 30))
                batch = data.gather([29, 10], ReadContext(files=window))
                np.testing.assert_array_equal(batch["image"], local.gather([29, 10])["image"])
                with pytest.raises(IndexError, match="not in this window"):
                    data.gather([30], ReadContext(files=window))
        assert site.requests.pop("/ds/dataset.json") == 2
        assert set(site.requests.values()) == {1}
        assert count_shards(site) == len(published.shards)


def test_opening_fetches_the_manifest_alone_and_a_shard_comes_with_its_index(published: Published, cache: Path) -> None:
    with serve_set(published) as site, open_set(site, cache) as data:
        assert (len(data), len(data.cut_blocks(4096))) == (40, len(data.cut_blocks(4096)))
        assert dict(site.requests) == {"/ds/dataset.json": 1}
        published.check(data, list(ROWS))
        assert dict(site.requests) == {"/ds/dataset.json": 1, f"/ds/{SHARD}": 1, f"/ds/{INDEX}": 1}
        assert data.find_key(ROWS[0]) == published.samples[ROWS[0]].key
        assert data.find_sample(published.samples[0].key) == 0
        assert site.requests["/ds/train/train-000000.index.npy"] == 1
        assert len(site.requests) == 4


def test_the_one_index_of_an_older_split_is_fetched_at_opening(tmp_path: Path, cache: Path) -> None:
    older = publish(tmp_path)
    make_old(older.root)
    assert older.indexes == ["train/index.npy"]
    limit = older.room_for(1)
    with serve_set(older) as site:
        with open_set(site, cache, cache_bytes=limit) as data:
            assert dict(site.requests) == {"/ds/dataset.json": 1, "/ds/train/index.npy": 1}
            older.check(data)
        assert site.requests["/ds/train/index.npy"] == 1
        with pytest.raises(ValueError, match=rf"must be at least {limit:,}, for the index and the largest shard"):
            open_set(site, cache, cache_bytes=limit - 1)


def test_a_damaged_index_affects_only_the_samples_of_its_shard(published: Published, cache: Path) -> None:
    body = flip(published.read(INDEX))
    with serve_set(published, {INDEX: Reply(body)}) as site, open_set(site, cache) as data:
        window = data.open_window(np.arange(40))
        others = [row for row in range(40) if row not in ROWS]
        assert data.gather(others, ReadContext(files=window))["key"] == [published.samples[row].key for row in others]
        for context in (ReadContext(files=window), ReadContext()):
            with pytest.raises(DamageError, match=r"train-000002\.index\.npy: its sha256 is") as caught:
                data.gather([0, ROWS[0]], context)
            assert caught.value.shard == "train-000002.tar"
        assert site.requests[f"/ds/{INDEX}"] == 2, "a second try past HTTP caches, and none for each sample"
        loader = Loader(data, 4, shuffle=False, on_error="skip")
        valid = [
            key for batch in loader for key, good in zip(batch["key"], batch["valid"].tolist(), strict=True) if good
        ]
        assert valid == [published.samples[row].key for row in others]
        assert [(skip.row, skip.sample, skip.shard) for skip in loader.skipped] == [
            (row, None, "train-000002.tar") for row in ROWS
        ]


def read_in_another_process(data: ShardDataset) -> list[str]:
    with data:
        keys: list[str] = data.gather(list(range(len(data))))["key"]
        return keys


def test_another_process_reads_a_pickled_dataset_from_the_cache(published: Published, cache: Path) -> None:
    with serve_set(published) as site, open_set(site, cache) as data:
        published.check(data)
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            assert pool.apply(read_in_another_process, (data,)) == [sample.key for sample in published.samples]
        assert count_shards(site) == len(published.shards)


def test_a_forked_process_opens_new_connections(published: Published, cache: Path) -> None:
    with serve_set(published) as site, open_set(site, cache) as data:
        published.check(data, [0])
        fork = multiprocessing.get_context("fork").Process(target=read_in_another_process, args=(data,))
        fork.start()
        fork.join(PATIENCE)
        assert fork.exitcode == 0
        published.check(data)
        assert count_shards(site) == len(published.shards)


def test_a_pickle_does_not_open_a_dataset_that_was_replaced(published: Published, cache: Path, tmp_path: Path) -> None:
    other = publish(tmp_path, count=4)
    with serve_set(published) as site, open_set(site, cache) as data:
        pickled = pickle.dumps(data)
        site.routes["/ds/dataset.json"] = Reply(other.read("dataset.json"))
        with pytest.raises(DamageError, match="restore the dataset that was open before"):
            pickle.loads(pickled)


def test_urls() -> None:
    assert hide_secrets("https://u:p@host:1/a/b/?q=1#f") == "https://host:1/a/b"
    assert hide_secrets("s3://bucket/a") == "s3://bucket/a"
    assert hide_secrets("https://u:p@host?q=/@x") == "https://host"
    assert join_url("https://host/a/?q=1", "t/x.tar") == "https://host/a/t/x.tar?q=1"
    assert join_url("bucket/a?b", "x.tar") == "bucket/a?b/x.tar"
    assert all(map(is_url, ["s3://b", "HTTPS://h", "simplecache::s3://b", "memory://x"]))
    assert not any(map(is_url, ["/a/b", "a/b", "c:\\a", "a::b", "./s3:/b", ""]))


def test_a_damaged_shard_affects_only_its_samples_and_is_not_requested_again(published: Published, cache: Path) -> None:
    with serve_set(published, {SHARD: Reply(b"", 404)}) as site, open_set(site, cache) as data:
        window = data.open_window(np.arange(40))
        for row in range(40):
            if row in ROWS:
                with pytest.raises(DamageError, match="missing") as caught:
                    data.gather([row], ReadContext(files=window))
                assert caught.value.shard == "train-000002.tar"
            else:
                data.gather([row], ReadContext(files=window))
        assert site.requests[f"/ds/{SHARD}"] == 1


@pytest.mark.parametrize("threads", [1, 3])
def test_the_number_of_concurrent_downloads_is_limited(published: Published, cache: Path, threads: int) -> None:
    def reply_to_all(shard: str) -> Route:
        """As soon as so many are there, and a little later, for one too many to come."""

        def reply(before: int) -> Reply:
            wait_for(lambda: site.most_busy >= threads)
            return Reply(published.read(shard), delay=0.05)

        return reply

    together = {shard: reply_to_all(shard) for shard in published.shards}
    patient = replace(QUICK, threads=threads, stall=PATIENCE, deadline=PATIENCE)
    with serve_set(published, together) as site, open_set(site, cache, patient) as data:
        site.most_busy = 0
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(data.open_window, np.array_split(np.arange(40), 4)))
        assert site.most_busy == threads
        assert count_shards(site) == len(published.shards)


def test_a_bit_flip_in_the_cache_is_detected_and_the_shard_fetched_again(published: Published, cache: Path) -> None:
    with serve_set(published) as site:
        with open_set(site, cache) as data:
            published.check(data)
        path = find_object(cache, published.read(SHARD))
        path.write_bytes(flip(path.read_bytes()))
        with open_set(site, cache) as data:
            published.check(data)
        assert site.requests[f"/ds/{SHARD}"] == 2
        assert count_shards(site) == len(published.shards) + 1


def test_random_order_works_in_a_cache_for_one_shard(published: Published, cache: Path) -> None:
    limit = published.room_for(1)
    with serve_set(published) as site, open_set(site, cache, cache_bytes=limit) as data:
        order = np.random.default_rng(0).permutation(40)
        for rows in np.split(order[:12], 3):
            published.check(data, rows.tolist())
            assert sum(list_objects(cache).values()) <= limit
        with pytest.raises(
            ValueError, match=rf"cache_bytes is {limit - 1:,}; it must be at least {limit:,}, for the largest shard"
        ):
            open_set(site, cache, cache_bytes=limit - 1)


def test_a_window_fetches_each_shard_once_however_small_the_cache(published: Published, cache: Path) -> None:
    with serve_set(published) as site, open_set(site, cache, cache_bytes=published.room_for(2)) as data:
        window = data.open_window(np.arange(40))
        for row in (39, 0, 17):
            data.gather([row], ReadContext(files=window))
        assert count_shards(site) == len(published.shards)


def read_concurrently(url: str, cache: Path, limit: int, root: Path, seed: int) -> int:
    """Read all samples in windows of one shard and some at random; return the largest size of the cache."""
    most = 0
    data = ShardDataset(url, "train", cache=cache, cache_bytes=limit, remote=QUICK)
    with data, ShardDataset(root, "train") as local:
        for first in np.random.default_rng(seed).permutation(np.arange(0, 40, 6)).tolist():
            rows = np.arange(first, min(first + 6, 40))
            batch = data.gather(rows, ReadContext(files=data.open_window(rows)))
            other = data.gather([seed, first])
            for name in data.fields:
                np.testing.assert_array_equal(batch[name], local.gather(rows)[name])
                np.testing.assert_array_equal(other[name], local.gather([seed, first])[name])
            with suppress(FileNotFoundError):  # removed while we count
                most = max(most, sum(list_objects(cache).values()))
    return most


def test_processes_share_a_cache_for_two_shards(published: Published, cache: Path) -> None:
    """Processes evict files that others need next; all read the right bytes, and the limit holds."""
    limit = published.room_for(2)
    with serve_set(published) as site, multiprocessing.get_context("spawn").Pool(3) as pool:
        jobs = [(find_url(site), cache, limit, published.root, seed) for seed in range(3)]
        # A download in progress counts with all its bytes for the limit, and with those on disk here.
        assert max(pool.starmap(read_concurrently, jobs, 1)) <= limit


def test_two_sets_take_turns_in_a_cache_that_holds_either(published: Published, cache: Path, tmp_path: Path) -> None:
    other = publish(tmp_path, count=44)
    limit = max(published.room_for(7), other.room_for(8)) + published.index_bytes + other.index_bytes
    with (
        serve_set(published) as site,
        serve_set(other) as second,
        open_set(site, cache, cache_bytes=limit) as data,
        open_set(second, cache, cache_bytes=limit) as more,
    ):
        for _ in range(2):
            published.check(data)
            other.check(more)
            assert sum(list_objects(cache).values()) <= limit


def test_close_cancels_downloads_and_leaves_nothing(published: Published, cache: Path) -> None:
    slow = {shard: Reply(published.read(shard), drip=0.01) for shard in published.shards}
    patient = replace(QUICK, stall=60.0)
    errors: list[str] = []  # the exception itself would hold a reference to the dataset

    def read(data: ShardDataset) -> None:
        try:
            data.open_window(np.arange(40))
        except ValueError as error:
            errors.append(str(error))

    with serve_set(published, slow) as site:
        for number in range(100):
            data = open_set(site, cache, patient)
            thread = threading.Thread(target=read, args=(data,), name="reader")
            thread.start()
            if number % 3:
                time.sleep(0.002 * (number % 7))
            data.close()
            thread.join(PATIENCE)
            assert not thread.is_alive()
            if not number:
                descriptors = count_descriptors()
        assert set(errors) <= {"the dataset is closed"}
        assert len(errors) == 100
        gc.collect()
        wait_for(lambda: not list_threads())
        wait_for(lambda: count_descriptors() <= descriptors)
        wait_for(lambda: count_connections(site) <= 2)  # unused ones, which end by themselves
        indexes = {find_object(cache, published.read(index)).name for index in published.indexes}
        assert list_objects(cache).keys() <= indexes
        with pytest.raises(ValueError, match="closed"):
            data.gather([0])


def test_a_file_system_without_an_event_loop(published: Published, cache: Path) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    for path in (p for p in published.root.rglob("*") if p.is_file()):
        memory.pipe_file(f"/sets/ds/{path.relative_to(published.root)}", path.read_bytes())
    with ShardDataset("memory://sets/ds", "train", cache=cache, remote=QUICK) as data:
        published.check(data, [0, 39])
        memory.pipe_file(f"/sets/ds/{SHARD}", b"x" * 100)
        with pytest.raises(DamageError, match=r"memory://sets/ds/train/train-000002\.tar: 100 bytes"):
            data.gather([13])
        memory.rm_file("/sets/ds/train/train-000003.tar")
        with pytest.raises(DamageError, match="missing"):
            data.gather([20])
    memory.store.clear()


def test_a_file_url_is_a_folder(published: Published, cache: Path) -> None:
    with ShardDataset(f"file://{published.root}", "train", cache=cache) as data:
        assert data.root == published.root
        published.check(data)
    assert not cache.exists()


def test_missing_packages_and_unknown_schemes_are_named(cache: Path) -> None:
    with pytest.raises(ValueError, match="fsspec cannot open this kind of URL: 'nosuch'"):
        ShardDataset("nosuch://x", "train", cache=cache)
    program = (
        "import sys; from shardwright import ShardDataset\n"
        "assert not {'fsspec', 'aiohttp', 'torch'} & sys.modules.keys()\n"
        "sys.modules[sys.argv[1]] = None\n"
        "ShardDataset(sys.argv[2], 'train', cache=sys.argv[3])"
    )
    for module, url, extra in (("fsspec", "https://h/d", "remote"), ("s3fs", "s3://b/d", "s3")):
        run = subprocess.run(
            [sys.executable, "-c", program, module, url, str(cache)], cwd=ROOT, capture_output=True, text=True
        )
        assert f'ImportError: {url}: needs {module}: pip install "shardwright[{extra}]"' in run.stderr


def test_settings_out_of_range_are_refused(tmp_path: Path) -> None:
    for setting in ({"threads": 0}, {"tries": 0}, {"stall": 0.0}, {"deadline": -1.0}, {"backoff": -1.0}):
        with pytest.raises(ValueError, match=r"Remote\.\w+ is .*; it must be"):
            Remote(**setting)
    with pytest.raises(ValueError, match="cache_bytes is 0"):
        ShardDataset("https://h/d", "train", cache=tmp_path / "c", cache_bytes=0)


@pytest.mark.parametrize("shards", [None, 2])
def test_a_loader_in_blocks_of_whole_shards_fetches_none_twice_in_an_epoch(
    published: Published, cache: Path, shards: int | None
) -> None:
    limit = shards and published.room_for(shards)
    with serve_set(published) as site, open_set(site, cache, cache_bytes=limit) as data:
        loader = Loader(data, 4, shuffle="block", blocks=Blocks(size=1 << 40, per_window=3), threads=2)
        for epoch in (1, 2):
            keys = [key for batch in loader for key in batch["key"]]
            assert sorted(keys) == sorted(sample.key for sample in published.samples)
            assert count_shards(site) <= len(published.shards) * (epoch if shards else 1)
