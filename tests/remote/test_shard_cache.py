"""The cache of shards has only whole files, whichever process is killed, and never removes an open one."""

import errno
import fcntl
import hashlib
import os
import shutil
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardwright.remote import disk_cache
from shardwright.remote.cache_folder import claim_folder, find_default_folder
from shardwright.remote.disk_cache import CacheItem, ClosedError, ShardCache, WaitOptions
from tests.support.remote_sets import count_descriptors, find_object, list_objects

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SHORT = WaitOptions(time.sleep, 0.1, 0.5)
SIZE = 4000
CONTENTS = [bytes([n]) * SIZE for n in range(6)]
other_user = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to another user")


def make_item(content: bytes) -> CacheItem:
    return CacheItem(hashlib.sha256(content).hexdigest(), len(content), "file.tar")


class Server:
    """Fetches from memory, and counts the downloads."""

    def __init__(self) -> None:
        self.fetched: list[bytes] = []

    def open(self, cache: ShardCache, content: bytes, waiting: WaitOptions = SHORT) -> int:
        def fetch(path: Path, descriptor: int) -> None:
            self.fetched.append(content)
            assert os.write(descriptor, content) == len(content)

        return cache.open(make_item(content), fetch, waiting)

    @contextmanager
    def hold(self, cache: ShardCache, content: bytes) -> Iterator[int]:
        descriptor = self.open(cache, content)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def bring(self, cache: ShardCache, content: bytes) -> None:
        with self.hold(cache, content) as descriptor:
            assert os.pread(descriptor, SIZE + 1, 0) == content


@given(
    st.lists(st.tuples(st.sampled_from(["bring", "hold", "drop", "flip", "cut", "remove", "new"]), st.integers(0, 5)))
)
def test_every_open_returns_the_right_bytes_whatever_happens_to_the_folder(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]
) -> None:
    folder, limit, server = tmp_path_factory.mktemp("cache"), 3 * SIZE, Server()
    folder.chmod(0o700)
    cache = ShardCache(folder, limit)
    held: dict[int, int] = {}
    for step, number in steps:
        content = CONTENTS[number]
        path = find_object(folder, content)
        if step == "drop" and number in held:
            os.close(held.pop(number))
        elif step in ("bring", "hold") and (len(held) < 3 or number in held):
            descriptor = server.open(cache, content)
            assert os.pread(descriptor, SIZE + 1, 0) == content
            if step == "hold" and number not in held:
                held[number] = descriptor
            else:
                os.close(descriptor)
        elif step == "new":
            cache = ShardCache(folder, limit)
        elif path.exists() and number not in held:
            if step == "flip":
                path.write_bytes(bytes([number ^ 1]) + content[1:])
                later = path.stat().st_mtime_ns + 10**7  # the clock of a file system advances in steps of milliseconds
                os.utime(path, ns=(later, later))
            elif step == "cut":
                os.truncate(path, 10)
            elif step == "remove":
                path.unlink()
        assert sum(list_objects(folder).values()) <= limit
        assert all(find_object(folder, CONTENTS[number]).exists() for number in held)
    for descriptor in held.values():
        os.close(descriptor)


def test_least_recently_used_files_are_evicted_first(tmp_path: Path) -> None:
    cache, server = ShardCache(tmp_path / "cache", 2 * SIZE), Server()
    first, second, third, *_ = CONTENTS
    for content in (first, second, first, third):
        server.bring(cache, content)
    assert set(list_objects(cache.folder)) == {make_item(first).sha256, make_item(third).sha256}
    assert server.fetched == [first, second, third]


def test_a_limit_below_the_open_files_names_the_limit_needed(tmp_path: Path) -> None:
    cache, server = ShardCache(tmp_path / "cache", 2 * SIZE), Server()
    with server.hold(cache, CONTENTS[0]), server.hold(cache, CONTENTS[1]):
        with pytest.raises(
            OSError, match=r"file\.tar: cache_bytes is 8,000, .* 8,000 open .* at least 12,000"
        ) as caught:
            server.open(cache, CONTENTS[2])
        assert caught.value.errno == errno.ENOSPC
        assert len(list_objects(cache.folder)) == 2
    server.bring(cache, CONTENTS[2])


def test_it_waits_for_room(tmp_path: Path) -> None:
    cache, server = ShardCache(tmp_path / "cache", SIZE), Server()
    descriptor = server.open(cache, CONTENTS[0])
    timer = threading.Timer(0.2, os.close, [descriptor])
    timer.start()
    os.close(server.open(cache, CONTENTS[1], WaitOptions(time.sleep, 30.0, 30.0)))
    timer.join()
    assert list(list_objects(cache.folder)) == [make_item(CONTENTS[1]).sha256]


def test_idle_files_of_this_process_are_released_before_waiting(tmp_path: Path) -> None:
    cache, server = ShardCache(tmp_path / "cache", SIZE), Server()

    class Idle:
        descriptor: int | None = server.open(cache, CONTENTS[0])

        def release_idle(self) -> None:
            if self.descriptor is not None:
                os.close(self.descriptor)
            self.descriptor = None

    idle = Idle()
    disk_cache.LEASE_HOLDERS.add(idle)
    server.bring(cache, CONTENTS[1])
    assert idle.descriptor is None


@pytest.mark.parametrize("damage", ["flip", "cut", "grow", "link", "pipe", "empty"])
def test_a_damaged_file_in_the_cache_is_fetched_again(tmp_path: Path, damage: str) -> None:
    folder, server, content = tmp_path / "cache", Server(), CONTENTS[3]
    server.bring(ShardCache(folder), content)
    path = find_object(folder, content)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(content)
    if damage == "flip":
        path.write_bytes(content[:-1] + b"?")
    elif damage == "cut":
        os.truncate(path, SIZE - 1)
    elif damage == "grow":
        os.truncate(path, SIZE + 1)
    else:
        path.unlink()
        if damage == "link":
            path.symlink_to(elsewhere)
        elif damage == "pipe":
            os.mkfifo(path)
        else:
            path.touch()
    server.bring(ShardCache(folder), content)
    assert server.fetched == [content, content]
    assert elsewhere.read_bytes() == content
    assert stat.S_ISREG(path.lstat().st_mode)


def test_a_file_is_checked_once_a_process_and_again_after_a_change(tmp_path: Path) -> None:
    cache, server, content = ShardCache(tmp_path / "cache"), Server(), CONTENTS[4]
    server.bring(cache, content)
    path = find_object(cache.folder, content)
    pauses: list[float] = []
    waiting = WaitOptions(pauses.append, 0.1, 0.5)
    os.close(server.open(cache, content, waiting))
    assert not pauses  # not a byte was read
    path.write_bytes(content)
    os.utime(path, (1, 1))  # the clock of a file system advances in steps of milliseconds
    os.close(server.open(cache, content, waiting))
    assert pauses
    path.write_bytes(content[:-1] + b"?")
    server.bring(cache, content)
    assert len(server.fetched) == 2


def test_a_failed_download_leaves_nothing(tmp_path: Path) -> None:
    cache, before = ShardCache(tmp_path / "cache"), count_descriptors()

    def fail(path: Path, descriptor: int) -> None:
        os.write(descriptor, b"half")
        raise ConnectionError("cancelled")

    with pytest.raises(ConnectionError, match="cancelled"):
        cache.open(make_item(CONTENTS[0]), fail, SHORT)
    assert not list_objects(cache.folder)
    assert count_descriptors() <= before


def test_one_downloads_while_others_wait(tmp_path: Path) -> None:
    server, content, started = Server(), CONTENTS[0], threading.Barrier(4)

    def fetch(path: Path, descriptor: int) -> None:
        server.fetched.append(content)
        time.sleep(0.1)
        os.write(descriptor, content)

    def bring() -> None:
        cache = ShardCache(tmp_path / "cache")
        started.wait()
        os.close(cache.open(make_item(content), fetch, WaitOptions(time.sleep, 30.0, 30.0)))

    threads = [threading.Thread(target=bring) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(server.fetched) == 1


def test_waiting_for_another_process_ends(tmp_path: Path) -> None:
    cache, item = ShardCache(tmp_path / "cache"), make_item(CONTENTS[0])
    partial = cache.folder / f"{item.sha256}.{SIZE}.partial"
    with partial.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(TimeoutError, match=r"another process has held it for \d+ s; file\.tar is needed"):
            Server().open(cache, CONTENTS[0])

        def close(seconds: float) -> None:
            raise ClosedError("closed")

        with pytest.raises(ClosedError, match="closed"):
            Server().open(cache, CONTENTS[0], WaitOptions(close, 9.0, 9.0))
    Server().bring(cache, CONTENTS[0])  # the process that held it has ended
    assert not partial.exists()


@pytest.mark.parametrize("limit", [None, SIZE])
def test_the_remains_of_killed_downloads_are_removed(tmp_path: Path, limit: int | None) -> None:
    folder = tmp_path / "cache"
    ShardCache(folder)
    (folder / f"{'0' * 64}.{SIZE}.partial").write_bytes(b"half")
    Server().bring(ShardCache(folder, limit), CONTENTS[0])
    assert list(list_objects(folder)) == [make_item(CONTENTS[0]).sha256]


def test_a_full_disk_is_an_error_before_the_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, server = ShardCache(tmp_path / "cache"), Server()
    full = shutil.disk_usage(tmp_path)._replace(free=SIZE - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: full)
    with pytest.raises(OSError, match=r"cache: no room on the disk for 4,000 bytes of file\.tar: 3,999 bytes"):
        server.open(cache, CONTENTS[0])
    assert not server.fetched
    assert not list_objects(cache.folder)


def test_a_cache_that_was_deleted_is_created_again(tmp_path: Path) -> None:
    cache, server = ShardCache(tmp_path / "cache"), Server()
    with server.hold(cache, CONTENTS[0]) as descriptor:
        shutil.rmtree(cache.folder)
        assert os.pread(descriptor, SIZE, 0) == CONTENTS[0]
        server.bring(cache, CONTENTS[1])
    server.bring(cache, CONTENTS[0])


def test_only_this_user_may_write_to_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert ShardCache().folder == tmp_path / "xdg" / "shardwright"
    assert stat.S_IMODE(ShardCache().folder.stat().st_mode) == 0o700
    monkeypatch.setenv("XDG_CACHE_HOME", "not/absolute")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert find_default_folder() == tmp_path / "home/.cache/shardwright"
    open_to_all = tmp_path / "open"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    with pytest.raises(PermissionError, match="chmod 700"):
        claim_folder(open_to_all)
    (tmp_path / "own").symlink_to(tmp_path / "xdg" / "shardwright")
    assert claim_folder(tmp_path / "own") == tmp_path / "xdg" / "shardwright"
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="not a folder"):
        claim_folder(tmp_path / "file")


@other_user
def test_links_and_folders_of_another_user_are_refused(tmp_path: Path) -> None:
    foreign, own, link = tmp_path / "foreign", tmp_path / "own", tmp_path / "link"
    foreign.mkdir()
    os.chown(foreign, 12345, 12345)
    with pytest.raises(PermissionError, match="belongs to user 12345"):
        ShardCache(foreign)
    own.mkdir(mode=0o700)
    link.symlink_to(own)
    os.lchown(link, 12345, 12345)
    with pytest.raises(PermissionError, match="a link of another user"):
        ShardCache(link)


KILLED = """
import os, sys, time
from pathlib import Path
from shardwright.remote.disk_cache import CacheItem, ShardCache, WaitOptions

def fetch(path, descriptor):
    for _ in range(100):
        os.write(descriptor, bytes(100))
        print("wrote", flush=True)
        time.sleep(0.002)

cache = ShardCache(Path(sys.argv[1]))
for number in range(1000):
    os.close(cache.open(CacheItem(f"{number:064x}", 10_000, "file.tar"), fetch, WaitOptions(time.sleep, 1.0, 1.0)))
"""


def test_a_download_that_was_killed_at_any_moment_is_repeated(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    for moment in (1, 7, 40, 99, 100, 101):
        command = [sys.executable, "-c", KILLED, str(folder)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as process:
            assert process.stdout is not None
            for _ in range(moment):
                process.stdout.readline()
            process.kill()
        ShardCache(folder)
        assert all("partial" not in name for name in list_objects(folder))
        assert set(list_objects(folder).values()) <= {10_000}
        Server().bring(ShardCache(folder), CONTENTS[0])
        shutil.rmtree(folder)
