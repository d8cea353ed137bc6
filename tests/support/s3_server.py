"""Serve S3 on loopback, for tests. A test module that uses it needs the packages s3fs, moto and boto3."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import pytest

KEYS = {"key": "visible", "secret": "S3CRET"}


@contextmanager
def serve_s3(known: bool = True) -> Iterator[Any]:
    """Yield a server of moto, which is empty; the environment has the credentials meanwhile, if they are `known`."""
    from moto.server import ThreadedMotoServer

    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.delenv(name, raising=False)
        if known:
            patch.setenv("AWS_ACCESS_KEY_ID", KEYS["key"])
            patch.setenv("AWS_SECRET_ACCESS_KEY", KEYS["secret"])
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
        server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        server.start()
        try:
            yield server
        finally:
            server.stop()


def find_endpoint(server: Any) -> str:
    """Return the URL of a server."""
    host, port = server.get_host_and_port()
    return f"http://{host}:{port}"


@contextmanager
def make_bucket(server: Any, name: str, objects: Mapping[str, bytes]) -> Iterator[Any]:
    """Yield a client of the server, with a bucket that has these objects."""
    client = import_module("boto3").client(
        "s3",
        endpoint_url=find_endpoint(server),
        region_name="us-east-1",
        aws_access_key_id=KEYS["key"],
        aws_secret_access_key=KEYS["secret"],
    )
    client.create_bucket(Bucket=name)
    for key, content in objects.items():
        client.put_object(Bucket=name, Key=key, Body=content)
    yield client
    client.close()
