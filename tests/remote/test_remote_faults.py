"""Slow, broken and hostile servers of a dataset at a URL: a retry, or one clear error."""

import errno
import gc
import logging
import multiprocessing
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from multiprocessing.context import SpawnProcess
from pathlib import Path

import numpy as np
import pytest

from shardwright import DamageError, FormatError, ShardDataset
from shardwright.datasets.read_context import ReadContext
from shardwright.format.manifest import encode_manifest
from shardwright.remote.fetch import MAX_MANIFEST_BYTES
from shardwright.remote.settings import Remote
from tests.support.loopback import Reply, Route, Site
from tests.support.remote_sets import (
    IMPATIENT,
    QUICK,
    Published,
    count_shards,
    find_url,
    flip,
    list_objects,
    open_set,
    publish,
    serve_set,
)
from tests.support.waiting import wait_for

pytestmark = pytest.mark.slow

SHARD = "train/train-000002.tar"
INDEX = "train/train-000002.index.npy"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Published:
    return publish(tmp_path_factory.mktemp("remote"))


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def once(make: Callable[[bytes], Reply]) -> Callable[[bytes], Route]:
    """Return a route with this first reply, and the right one from the second request on."""
    return lambda body: lambda before: Reply(body) if before else make(body)


PASSING: dict[str, Callable[[bytes], Reply]] = {
    "500": lambda body: Reply(b"out of order", 500),
    "503, come again at once": lambda body: Reply(b"", 503, {"Retry-After": "0"}),
    "429": lambda body: Reply(b"", 429),
    "cut": lambda body: Reply(body[:300], length=len(body)),
    "cut, without a length": lambda body: Reply(body[:300], length=-1),
    "shorter": lambda body: Reply(body[:512]),
    "longer": lambda body: Reply(body + b"x"),
    "one bit": lambda body: Reply(flip(body)),
    "a page": lambda body: Reply(b"<html>sign in</html>"),
    "nothing": lambda body: Reply(b""),
    "stalled": lambda body: Reply(body, delay=60.0),
    "dripping": lambda body: Reply(body, drip=0.1),
}


@pytest.mark.parametrize("name", PASSING)
@pytest.mark.parametrize("file", [SHARD, INDEX])
def test_transient_faults_are_retried(published: Published, cache: Path, file: str, name: str) -> None:
    with serve_set(published, {file: once(PASSING[name])(published.read(file))}) as site:
        with open_set(site, cache, IMPATIENT if name in ("stalled", "dripping") else QUICK) as data:
            published.check(data)
        assert site.requests[f"/ds/{file}"] == 2
        assert "partial" not in str(list_objects(cache))


@pytest.mark.parametrize("name", ["500", "cut", "one bit"])
def test_retried_faults_hold_no_file_open(published: Published, cache: Path, name: str) -> None:
    """The errors that were recovered from are in reference cycles with the frames of all callers until collected."""
    routes = {shard: once(PASSING[name])(published.read(shard)) for shard in published.shards}
    gc.disable()
    try:
        with serve_set(published, routes) as site, open_set(site, cache, cache_bytes=published.room_for(1)) as data:
            published.check(data)
            files = data.open_window(np.arange(len(data)))
            data.gather([0, len(data) - 1], ReadContext(files=files))
            held = {link for link in map(os.readlink, list_handles()) if str(cache) in link}
            assert not held
    finally:
        gc.enable()


def list_handles() -> list[Path]:
    """Return the open files of this process, on Linux only."""
    return [path for path in Path("/proc/self/fd").glob("*") if path.is_symlink()]


LASTING: dict[str, tuple[Callable[[bytes], Reply], type[Exception], str, int]] = {
    "404": (lambda body: Reply(b"", 404), DamageError, "missing", 1),
    "410": (lambda body: Reply(b"", 410), DamageError, "missing", 1),
    "403": (lambda body: Reply(b"", 403), PermissionError, "the server refuses it, HTTP status 403", 1),
    "400": (lambda body: Reply(b"", 400), OSError, "cannot be fetched: HTTP status 400", 1),
    "500": (lambda body: Reply(b"", 500), ConnectionError, "HTTP status 500 at try 5 of 5", 5),
    "cut": (lambda body: Reply(body[:9], length=len(body)), ConnectionError, "at try 5 of 5", 5),
    "shorter": (lambda body: Reply(body[:512]), DamageError, r"512 bytes, the manifest says \d+", 5),
    "longer": (lambda body: Reply(body + b"x"), DamageError, r"more than \d+ bytes", 2),
    "one bit": (lambda body: Reply(flip(body)), DamageError, r"its sha256 is \w{64}, the manifest says \w{64}", 2),
    "endless": (lambda body: Reply(endless=True), DamageError, r"more than \d+ bytes", 2),
    "redirected in a circle": (
        lambda body: Reply(b"", 302, {"Location": f"/ds/{SHARD}"}),
        OSError,
        "cannot be fetched: TooManyRedirects",
        10,
    ),
}


@pytest.mark.parametrize("name", LASTING)
def test_a_lasting_fault_is_one_clear_error(published: Published, cache: Path, name: str) -> None:
    make, kind, words, requests = LASTING[name]
    with serve_set(published, {SHARD: make(published.read(SHARD))}) as site, open_set(site, cache) as data:
        with pytest.raises(kind, match=words) as caught:
            data.gather([0, 13, 39])
        assert f"{find_url(site)}/{SHARD}" in str(caught.value)
        assert site.requests[f"/ds/{SHARD}"] == requests
        assert "partial" not in str(list_objects(cache))
        published.check(data, [0, 1, 39])  # the others are not affected


def test_a_slow_server_is_stopped_by_the_deadline(published: Published, cache: Path) -> None:
    """64 bytes at a time, fast enough that the connection does not count as broken."""
    patient = replace(QUICK, deadline=3.0)
    body = published.read(SHARD)
    with serve_set(published, {SHARD: Reply(body, drip=0.0005)}) as site, open_set(site, cache, patient) as data:
        with pytest.raises(TimeoutError, match=r"000002\.tar: not fetched within Remote\.deadline, 3 s"):
            data.gather([13])
        assert "partial" not in str(list_objects(cache))


@pytest.mark.parametrize("reply", [Reply(b"", delay=60.0), Reply(b"x" * 100, drip=0.2)], ids=["silent", "slow loris"])
def test_a_stalled_server_is_given_up(published: Published, cache: Path, reply: Reply) -> None:
    twice = replace(IMPATIENT, tries=2)
    words = r"000002\.tar: \d+ bytes in 1 s at try 2 of 2"
    with (
        serve_set(published, {SHARD: reply}) as site,
        open_set(site, cache, twice) as data,
        pytest.raises(ConnectionError, match=words),
    ):
        data.gather([13])


def test_no_server(cache: Path) -> None:
    with socket.socket() as closed:  # bound, so that nobody else listens there, and not listening
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/ds"
        with pytest.raises(ConnectionError, match=re.escape(f"{url}/dataset.json: ")):
            ShardDataset(url, "train", cache=cache, remote=QUICK)


MANIFESTS: dict[str, tuple[Callable[[bytes], Reply], type[Exception], str]] = {
    "missing": (lambda body: Reply(b"", 404), FileNotFoundError, "missing"),
    "endless": (lambda body: Reply(endless=True), DamageError, f"more than {MAX_MANIFEST_BYTES} bytes"),
    "a page": (lambda body: Reply(b"<html>"), FormatError, "dataset.json: "),
    "cut": (lambda body: Reply(body[: len(body) // 2]), FormatError, "dataset.json: "),
    "edited": (lambda body: Reply(body.replace(b'"HWC"', b'"WHC"')), DamageError, "that of its content is"),
}


@pytest.mark.parametrize("name", MANIFESTS)
def test_an_invalid_manifest_is_refused_with_its_url(published: Published, cache: Path, name: str) -> None:
    make, kind, words = MANIFESTS[name]
    with serve_set(published, {"dataset.json": make(published.read("dataset.json"))}) as site:
        with pytest.raises(kind, match=words) as caught:
            open_set(site, cache)
        assert f"{find_url(site)}/dataset.json" in str(caught.value)
        assert "/tmp" not in str(caught.value)


def test_the_manifest_and_retries_bypass_http_caches(published: Published, cache: Path) -> None:
    body = published.read(SHARD)
    with serve_set(published, {SHARD: once(lambda body: Reply(flip(body)))(body)}) as site:
        with open_set(site, cache, replace(QUICK, options={"headers": {"X-Own": "1"}})) as data:
            data.gather([13])
        for path in ("/ds/dataset.json", f"/ds/{SHARD}"):
            assert site.headers[path]["Cache-Control"] == "no-cache"
            assert site.headers[path]["X-Own"] == "1"
        assert "Cache-Control" not in site.headers[f"/ds/{INDEX}"]


def test_secrets_are_sent_and_never_shown(published: Published, cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "shardwright")
    query = "?signature=S3CRET"
    with serve_set(published, {SHARD: Reply(b"", 500)}, query) as site:
        url = f"http://user:S3CRET@{site.address}/ds{query}"
        shown = []
        with ShardDataset(url, "train", cache=cache, remote=QUICK) as data:
            published.check(data, [0, 39])
            shown.append(repr(data))
            with pytest.raises(ConnectionError) as caught:
                data.gather([13])
            shown.append(str(caught.value))
            assert caught.value.__suppress_context__  # the error of the other package has the whole URL
        with pytest.raises(OSError, match="missing") as missing:
            ShardDataset(url.replace("/ds", "/not"), "train", cache=cache, remote=QUICK)
        shown += [str(missing.value), repr(Remote(options={"key": "S3CRET"})), caplog.text]
        assert "Authorization" in site.headers[f"/ds/dataset.json{query}"]
    assert "000002.tar" in caplog.text
    assert "S3CRET" not in "".join(shown)


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    folder = tmp_path / "tiny"
    folder.mkdir(mode=0o700)
    if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=700", "none", folder]).returncode:
        pytest.skip("only root can mount a small file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.parametrize("foreseen", [True, False])
def test_a_full_disk_is_one_clear_error(
    published: Published, tiny_disk: Path, monkeypatch: pytest.MonkeyPatch, foreseen: bool
) -> None:
    if not foreseen:  # as when another process fills it meanwhile
        monkeypatch.setattr("shardwright.remote.disk_cache.shutil.disk_usage", lambda path: _Plenty)
    with serve_set(published) as site, open_set(site, tiny_disk) as data:
        with pytest.raises(OSError, match=rf"{tiny_disk}: no room on the disk for [\d,]+ bytes of train/") as caught:
            published.check(data)
        assert caught.value.errno == errno.ENOSPC
        whole = {len(published.read(file)) for file in (*published.shards, *published.indexes)}
        assert set(list_objects(tiny_disk).values()) <= whole


class _Plenty:
    free = 1 << 40


def test_a_wrong_sha256_in_the_manifest_is_detected(published: Published, cache: Path, tmp_path: Path) -> None:
    """Every hash of the manifest matches; only the shard is another."""
    other = publish(tmp_path, count=40)
    assert encode_manifest(ShardDataset(other.root, "train").manifest) == published.read("dataset.json")
    swapped = {published.shards[0]: Reply(published.read(published.shards[1]))}
    with (
        serve_set(published, swapped) as site,
        open_set(site, cache) as data,
        pytest.raises(DamageError, match="sha256"),
    ):
        data.gather([0])


TROUBLES: dict[int, Callable[[bytes], Reply]] = {
    0: PASSING["500"],
    2: PASSING["cut"],
    4: PASSING["one bit"],
    7: PASSING["longer"],
    9: lambda body: Reply(body, delay=0.02),
}
"""Faults in these of eleven replies; two wrong files in succession would be an error."""


def read_until_stopped(url: str, cache: Path, limit: int, root: Path, seed: int) -> None:
    """Read windows and samples at random until killed; exit with 1 where a value differs from the folder's."""
    remote = replace(QUICK, tries=50)
    rng = np.random.default_rng(seed)
    with ShardDataset(root, "train") as local:
        while True:
            with ShardDataset(url, "train", cache=cache, cache_bytes=limit, remote=remote) as data:
                for first in rng.permutation(len(data) - 3)[:10].tolist():
                    rows = [first, first + 3]
                    files = data.open_window(np.array(rows)) if rng.random() < 0.5 else None
                    batch, expected = data.gather(rows, ReadContext(files=files)), local.gather(rows)
                    if any((batch[name] != expected[name]).any() for name in local.fields):
                        sys.exit(1)


@pytest.mark.sweep
def test_readers_are_killed_at_random_while_the_server_fails(published: Published, cache: Path) -> None:
    """Four processes share a cache for two shards; repeatedly one is killed and replaced."""
    rng, limit = np.random.default_rng(0), published.room_for(2)

    def fail_often(shard: str) -> Route:
        body = published.read(shard)
        return lambda before: TROUBLES.get(before % 11, Reply)(body)

    spawn = multiprocessing.get_context("spawn")
    readers: list[SpawnProcess] = []

    with serve_set(published, {shard: fail_often(shard) for shard in published.shards}) as site:
        try:
            for seed in range(104):
                if len(readers) == 4:
                    # By requests and not by time: a busy machine takes seconds to start a process.
                    wait_for_requests(site, count_shards(site) + int(rng.integers(1, 20)))
                    time.sleep(rng.uniform(0, 0.05))
                    reader = readers.pop(int(rng.integers(4)))
                    assert reader.exitcode is None
                    reader.kill()
                    reader.join()
                job = (find_url(site), cache, limit, published.root, seed)
                readers.append(spawn.Process(target=read_until_stopped, args=job))
                readers[-1].start()
            wait_for_requests(site, count_shards(site) + 100)
            assert all(reader.exitcode is None for reader in readers)
        finally:
            for reader in readers:
                reader.kill()
                reader.join()
        print(f"\n| readers killed | requests for shards | wrong samples |\n| {seed + 1} | {count_shards(site)} | 0 |")
        site.routes |= {f"/ds/{shard}": Reply(published.read(shard)) for shard in published.shards}
        with open_set(site, cache, cache_bytes=limit) as data:
            published.check(data)
        assert "partial" not in str(list_objects(cache))
        assert sum(list_objects(cache).values()) <= limit


def wait_for_requests(site: Site, count: int) -> None:
    wait_for(lambda: count_shards(site) >= count)
