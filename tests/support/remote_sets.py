"""Serve a small dataset on loopback, for tests of datasets at a URL."""

import hashlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from shardwright import Sample, ShardDataset
from shardwright.format.manifest import read_manifest
from shardwright.remote.settings import Remote
from tests.support.loopback import Reply, Route, Site, serve
from tests.support.shard_samples import assert_same_arrays, read_tree, write_small

QUICK = Remote(backoff=0.01, stall=5.0, deadline=20.0)
"""Settings that detect a broken server at once; on a busy machine a correct reply may take a second."""
IMPATIENT = replace(QUICK, stall=1.0)
"""For servers that stall."""


@dataclass(frozen=True)
class Published:
    """A dataset in a folder, and its content."""

    root: Path
    samples: Sequence[Sample]

    @property
    def shards(self) -> list[str]:
        """The shards' paths below the root, in order."""
        return [f"train/{shard.name}" for shard in read_manifest(self.root).splits["train"].shards]

    @property
    def indexes(self) -> list[str]:
        """The paths of the split's indexes below the root: one for each shard, or one for all."""
        split = read_manifest(self.root).splits["train"]
        return [f"train/{name}" for name in split.file_names if name.endswith("index.npy")]

    @property
    def index_bytes(self) -> int:
        """The size of all indexes together."""
        return sum((self.root / index).stat().st_size for index in self.indexes)

    @property
    def shard_bytes(self) -> int:
        """The size of the largest shard."""
        return max((self.root / shard).stat().st_size for shard in self.shards)

    def room_for(self, shards: int) -> int:
        """Return the bytes of so many shards, and of the one index of an older split, which stays in the cache."""
        held = self.index_bytes if self.indexes == ["train/index.npy"] else 0
        return held + shards * self.shard_bytes

    def read(self, file: str) -> bytes:
        return (self.root / file).read_bytes()

    def check(self, data: ShardDataset, rows: Sequence[int] | None = None) -> None:
        """Read these samples, or all, and compare them."""
        requested = range(len(self.samples)) if rows is None else rows
        batch = data.gather(list(requested))
        assert batch["key"] == [self.samples[row].key for row in requested]
        for at, row in enumerate(requested):
            assert_same_arrays({name: np.asarray(batch[name][at]) for name in data.fields}, self.samples[row].arrays)


def publish(folder: Path, count: int = 40, samples_per_shard: int = 6) -> Published:
    root = folder / "published"
    return Published(root, write_small(root, count, samples_per_shard=samples_per_shard))


@contextmanager
def serve_set(published: Published, faults: Mapping[str, Route] | None = None, query: str = "") -> Iterator[Site]:
    """Serve all files below `/ds/`, some with other replies."""
    routes: dict[str, Route] = {f"/ds/{name}{query}": Reply(body) for name, body in read_tree(published.root).items()}
    routes |= {f"/ds/{name}{query}": route for name, route in (faults or {}).items()}
    with serve(routes) as site:
        yield site


def open_set(site: Site, cache: Path, remote: Remote = QUICK, cache_bytes: int | None = None) -> ShardDataset:
    return ShardDataset(find_url(site), "train", cache=cache, cache_bytes=cache_bytes, remote=remote)


def flip(body: bytes) -> bytes:
    """Return the body with its first bit flipped."""
    return bytes([body[0] ^ 1]) + body[1:]


def find_url(site: Site) -> str:
    return f"http://{site.address}/ds"


def count_shards(site: Site) -> int:
    """Return the number of requests for shards."""
    return sum(count for path, count in site.requests.items() if path.partition("?")[0].endswith(".tar"))


def list_objects(cache: Path) -> dict[str, int]:
    """Return the files of a cache and their sizes, without its lock."""
    return {path.name: path.stat().st_size for path in cache.iterdir() if path.name != ".lock"}


def find_object(cache: Path, content: bytes) -> Path:
    return cache / hashlib.sha256(content).hexdigest()


def list_threads() -> set[str]:
    """Return the threads except those that fsspec, asyncio, Dask, tqdm and the servers of tests leave running."""
    kept = ("MainThread", "fsspecIO", "asyncio_", "Thread-", "Dask-", "tqdm_")
    return {thread.name for thread in threading.enumerate() if not thread.name.startswith(kept)}


def count_descriptors() -> int:
    """Return the number of open files of this process, without sockets."""
    links = [path.readlink() for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
    return sum(not link.name.startswith("socket:") for link in links)


def count_connections(site: Site) -> int:
    """Return the number of connections to a server that clients hold open."""
    rows = [line.split() for line in Path("/proc/self/net/tcp").read_text().splitlines()[1:]]
    return sum(row[3] == "01" and int(row[2].partition(":")[2], 16) == site.server_port for row in rows)
