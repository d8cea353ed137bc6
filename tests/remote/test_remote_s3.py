"""A dataset in a bucket, on a loopback S3 server: read, checked and cached as one at an HTTP URL."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shardwright import DamageError, ShardDataset
from shardwright.remote.settings import Remote
from tests.support.remote_sets import QUICK, Published, list_objects, publish

pytestmark = pytest.mark.slow

pytest.importorskip("s3fs")
moto_server = pytest.importorskip("moto.server")
boto3 = pytest.importorskip("boto3")

SHARD = "train/train-000002.tar"
KEYS = {"key": "visible", "secret": "S3CRET"}


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Published:
    return publish(tmp_path_factory.mktemp("remote"))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    server = moto_server.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def bucket(server: Any, published: Published) -> Any:
    """A client of the server, whose bucket `sets` has the dataset under `a/ds`."""

    client = boto3.client(
        "s3",
        endpoint_url=find_endpoint(server),
        region_name="us-east-1",
        aws_access_key_id=KEYS["key"],
        aws_secret_access_key=KEYS["secret"],
    )
    client.create_bucket(Bucket="sets")
    for path in (path for path in published.root.rglob("*") if path.is_file()):
        client.put_object(Bucket="sets", Key=f"a/ds/{path.relative_to(published.root)}", Body=path.read_bytes())
    yield client
    client.close()


def find_endpoint(server: Any) -> str:
    host, port = server.get_host_and_port()
    return f"http://{host}:{port}"


def open_set(server: Any, cache: Path, url: str = "s3://sets/a/ds", **keys: Any) -> ShardDataset:
    # botocore and s3fs both retry by themselves; here they should stop soon.
    once = {"retries": {"max_attempts": 0}}
    options = {"endpoint_url": find_endpoint(server), "config_kwargs": once, **(keys or KEYS)}
    settings = Remote(options=options, tries=1, backoff=QUICK.backoff, stall=5.0, deadline=20.0)
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
