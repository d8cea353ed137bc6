"""A dataset in a bucket, on a loopback S3 server: read, checked and cached as one at an HTTP URL."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shardwright import DamageError, ShardDataset
from shardwright.remote.settings import Remote
from tests.support.remote_sets import QUICK, Published, list_objects, publish
from tests.support.s3_server import KEYS, find_endpoint, make_bucket, serve_s3

pytestmark = pytest.mark.slow

pytest.importorskip("s3fs")
pytest.importorskip("moto.server")
pytest.importorskip("boto3")

SHARD = "train/train-000002.tar"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Published:
    return publish(tmp_path_factory.mktemp("remote"))


@pytest.fixture
def server() -> Iterator[Any]:
    with serve_s3(known=False) as server:
        yield server


@pytest.fixture
def bucket(server: Any, published: Published) -> Iterator[Any]:
    """A client of the server, whose bucket `sets` has the dataset under `a/ds`."""
    files = (path for path in published.root.rglob("*") if path.is_file())
    with make_bucket(
        server, "sets", {f"a/ds/{path.relative_to(published.root)}": path.read_bytes() for path in files}
    ) as client:
        yield client


def open_set(server: Any, cache: Path, url: str = "s3://sets/a/ds", **keys: Any) -> ShardDataset:
    # botocore and s3fs both retry by themselves; here they should stop soon.
    once = {"retries": {"max_attempts": 0}}
    options = {"endpoint_url": find_endpoint(server), "config_kwargs": once, **(keys or KEYS)}
    settings = Remote(options=options, tries=1, backoff=QUICK.backoff, stall=30.0, deadline=60.0)
    return ShardDataset(url, "train", cache=cache, remote=settings)


@pytest.mark.usefixtures("bucket")
def test_a_bucket_gives_the_samples_of_its_folder(server: Any, published: Published, tmp_path: Path) -> None:
    with open_set(server, tmp_path / "cache") as data:
        published.check(data)
        assert repr(data).startswith("ShardDataset('s3://sets/a/ds', 'train'): 40 samples")
        server.stop()
        published.check(data)  # all shards are cached


def test_a_missing_or_changed_object_is_one_clear_error(
    server: Any, bucket: Any, published: Published, tmp_path: Path
) -> None:
    bucket.put_object(Bucket="sets", Key=f"a/ds/{SHARD}", Body=published.read(published.shards[0]))
    bucket.delete_object(Bucket="sets", Key="a/ds/train/train-000003.tar")
    with open_set(server, tmp_path / "cache") as data:
        with pytest.raises(DamageError, match=rf"s3://sets/a/ds/{SHARD}: its sha256 is"):
            data.gather([13])
        with pytest.raises(DamageError, match=r"s3://sets/a/ds/train/train-000003\.tar: missing"):
            data.gather([20])
        published.check(data, [0, 39])
        assert "partial" not in str(list_objects(tmp_path / "cache"))


@pytest.mark.usefixtures("bucket")
def test_a_missing_bucket_and_missing_credentials(server: Any, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"missing: 's3://nowhere/ds/dataset\.json'"):
        open_set(server, tmp_path / "cache", "s3://nowhere/ds")
    with pytest.raises(OSError, match=r"s3://sets/a/ds/dataset\.json: cannot be fetched: NoCredentialsError"):
        open_set(server, tmp_path / "cache", anon=False)


@pytest.mark.usefixtures("bucket")
@pytest.mark.parametrize("file", ["train-000000.index.npy", "train-000000.tar"])
def test_a_stopped_server(file: str, server: Any, tmp_path: Path) -> None:
    with open_set(server, tmp_path / "cache") as data:
        if file.endswith(".tar"):
            next(data.iterate_keys())  # fetches the index
        server.stop()
        with pytest.raises(
            ConnectionError, match=rf"s3://sets/a/ds/train/{re.escape(file)}: .* at try 1 of 1"
        ) as caught:
            data.gather([0])
        assert "S3CRET" not in str(caught.value)
