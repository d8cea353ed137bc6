"""A bucket gives the items of the folder with its files; what fails there is a dropped row, or a line that names it."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pyarrow as pa
import pytest

from pipeline.errors import InputError, ParamsError
from pipeline.ingest.list_files import list_files
from pipeline.inputs import bucket as buckets
from pipeline.inputs.bucket import Bucket, find_version, split_url
from pipeline.tables.contracts import LISTED, LISTED_FILES
from pipeline.tables.table_files import read_table
from shardwright.remote.settings import Remote
from tests.support.archives import make_parquet, make_tar, make_zip
from tests.support.ingesting import Ingest, make_image, make_params, run_ingest, write_files
from tests.support.loopback import Reply, page, serve
from tests.support.s3_server import KEYS, find_endpoint, make_bucket, serve_s3

pytestmark = pytest.mark.slow

pytest.importorskip("s3fs")
pytest.importorskip("moto.server")

MEMBERS = {"e.png": make_image(2), "f.txt": b"f"}
FILES = {
    "cat/a.png": make_image(1),
    "cat/a.txt": b"a cat",
    "l\u00f6we \\ 100%.txt": "L\u00f6we".encode(),
    "same.txt": b"a cat",
    "empty.txt": b"",
    "in/members.zip": make_zip(MEMBERS),
    "in/bytes.parquet": make_parquet(pa.table({"file": [*MEMBERS], "data": [*MEMBERS.values()]})),
    "plain.parquet": make_parquet(pa.table({"a": [1]})),
    "labels.csv": b"file,label\ncat/a.png,cat\n",
    ".gitignore": b"*",
}
SHARDS = {f"train-{number}.tar": make_tar({f"{number}.txt": b"x", f"{number}.cls": b"7"}) for number in range(3)}


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    once = {"config_kwargs": {"retries": {"max_attempts": 0}}}

    def make(options: Mapping[str, Any]) -> Remote:
        extra = once if "endpoint_url" in options else {}
        return Remote(options={**options, **extra, "use_listings_cache": False}, tries=2, backoff=0.01)

    monkeypatch.setattr(buckets, "make_settings", make)


@pytest.fixture(scope="module")
def server() -> Iterator[Any]:
    with serve_s3() as server:
        yield server


@pytest.fixture(scope="module")
def client(server: Any) -> Iterator[Any]:
    objects = {f"some/photos/{name}": content for name, content in FILES.items()}
    shards = {f"shards/{name}": content for name, content in SHARDS.items()}
    others = {"some/photos/": b"", "some/photos2/no.txt": b"no"}
    with make_bucket(server, "sets", objects | shards | others) as client:
        yield client


def run_at(folder: Path, server: Any, path: str, kind: str = "folder", **params: Any) -> Ingest:
    source = {"kind": kind, "path": path, "options": {"endpoint_url": find_endpoint(server)}}
    return run_ingest(folder, make_params(sources=[source], **params))


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Ingest:
    place = tmp_path_factory.mktemp("local")
    write_files(place / "inbox", FILES)
    return run_ingest(place, make_params(table="labels.csv"))


@pytest.mark.usefixtures("client")
def test_a_bucket_gives_the_bytes_of_its_folder(server: Any, local: Ingest, tmp_path: Path) -> None:
    found = run_at(tmp_path, server, "s3://sets/some/photos/", table="labels.csv")
    assert found.hash_files() == local.hash_files()
    assert {row["label"] for row in found.rows if row["file"] == "cat/a.png"} == {"cat"}
    listed = read_table(found.data / LISTED_FILES, LISTED)
    assert [row["sha256"] for row in listed] == [None] * len(listed)
    written = b"".join(path.read_bytes() for path in found.data.rglob("*") if path.is_file())
    assert KEYS["secret"].encode() not in written


@pytest.mark.usefixtures("client")
@pytest.mark.parametrize("kind", ["tar", "webdataset"])
def test_archives_in_a_bucket_give_the_bytes_of_local_ones(kind: str, server: Any, tmp_path: Path) -> None:
    write_files(tmp_path / "shards", SHARDS)
    local = run_ingest(tmp_path, make_params(sources=[{"kind": kind, "path": str(tmp_path / "shards/train-*.tar")}]))
    found = run_at(tmp_path, server, "s3://sets/shards/train-*.tar", kind)
    assert found.hash_files() == local.hash_files()
    assert len(found.rows) == (3 if kind == "webdataset" else 6)


@pytest.mark.usefixtures("client")
def test_only_what_is_new_is_fetched(server: Any, client: Any, tmp_path: Path) -> None:
    source = {"path": "s3://sets/some/photos", "options": {"endpoint_url": find_endpoint(server)}}
    params = make_params(sources=[source])

    def count() -> tuple[Ingest, int]:
        with patch.object(Bucket, "fetch", autospec=True, side_effect=Bucket.fetch) as fetch:
            return run_on_cache(tmp_path, params), fetch.call_count

    first, fetched = count()
    assert fetched == len(FILES)  # not .gitignore, but the table without bytes twice: it might have been an archive
    again, fetched = count()
    assert fetched == 0
    assert again.hash_files() == first.hash_files()
    client.put_object(Bucket="sets", Key="some/photos/cat/a.txt", Body=b"a cat")  # the same content, at another time
    assert count()[1] == 0
    client.put_object(Bucket="sets", Key="some/photos/cat/a.txt", Body=b"a dog")
    try:
        changed, fetched = count()
    finally:
        client.put_object(Bucket="sets", Key="some/photos/cat/a.txt", Body=b"a cat")
    assert fetched == len(FILES) - 3  # the range that it is in, without archives
    assert changed.read_texts()["cat/a.txt", ""] == "a dog"


def run_on_cache(folder: Path, params: Any) -> Ingest:
    """Run with one cache for all runs."""
    cache = folder / "cache"
    cache.mkdir(exist_ok=True)

    def share(data: Path) -> None:
        (data / "cache").symlink_to(cache)

    return run_ingest(folder, params, spoil=share)


def run_changed(folder: Path, server: Any, change: Any, path: str, kind: str = "folder") -> Ingest:
    """Run with a change between the stages list and ingest."""

    def change_and_list(*args: Any) -> Any:
        change()
        return list_files(*args)

    with patch("pipeline.ingest.step.list_files", change_and_list):
        return run_at(folder, server, path, kind)


def test_an_object_that_changes_after_the_listing_is_dropped(server: Any, client: Any, tmp_path: Path) -> None:
    names = ("kept", "gone", "same_size", "longer", "shorter")
    for name in names:
        client.put_object(Bucket="sets", Key=f"moving/{name}.txt", Body=f"{name} 1".encode())

    def change() -> None:
        client.delete_object(Bucket="sets", Key="moving/gone.txt")
        for name, body in (("same_size", b"same_size 2"), ("longer", b"longer 1 and more"), ("shorter", b"short")):
            client.put_object(Bucket="sets", Key=f"moving/{name}.txt", Body=body)

    found = run_changed(tmp_path, server, change, "s3://sets/moving")
    changed = {f"folder:{name}.txt": "changed_while_read" for name in names[2:]}
    assert found.reasons == {"folder:gone.txt": "unreadable", **changed}
    assert [row["file"] for row in found.rows] == ["kept.txt"]


def test_an_archive_that_changes_after_the_listing_stops_the_stage(server: Any, client: Any, tmp_path: Path) -> None:
    client.put_object(Bucket="sets", Key="later/a.zip", Body=make_zip(MEMBERS))

    def change() -> None:
        client.put_object(Bucket="sets", Key="later/a.zip", Body=make_zip({"f.txt": b"g"}))

    with pytest.raises(InputError, match=r"s3://sets/later/a\.zip: the object changed since it was listed: run `dvc"):
        run_changed(tmp_path, server, change, "s3://sets/later/*.zip", "zip")


@pytest.mark.usefixtures("client")
@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("s3://nowhere/a", r"ingest\.sources\.0\.path is s3://nowhere/a: there is no such bucket or folder; look at"),
        (
            "s3://sets/nothing",
            r"ingest\.sources\.0\.path is s3://sets/nothing: no object is below it; look at the name",
        ),
        ("nosuch://a/b", r"ingest\.sources\.0\.path: nosuch://a/b: fsspec cannot open this kind of URL: 'nosuch'"),
    ],
)
def test_what_is_not_there_is_one_line(path: str, message: str, server: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        run_at(tmp_path, server, path)


def test_a_pattern_without_objects_is_one_line(server: Any, client: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"s3://sets/shards: no object is called x-\*\.tar; look at the name"):
        run_at(tmp_path, server, "s3://sets/shards/x-*.tar", "tar")


def test_missing_credentials_are_one_line(server: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setattr("s3fs.S3FileSystem.cachable", False)
    with pytest.raises(InputError, match=r"s3://sets/a: there are no credentials; put credentials where its library"):
        run_at(tmp_path, server, "s3://sets/a")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"path": "s3://me:S3CRET@sets/a"}, r"path.*s3://sets/a.* it must be without user, password and query"),
        ({"path": "https://h/a?sig=S3CRET"}, r"path.*https://h/a.* it must be without user, password and query"),
        ({"path": "s3://sets/a", "options": {"secret": "S3CRET"}}, r"options.* it must be without secret"),
        ({"path": "s3://sets/a", "options": {"endpoint_url": "http://u:S3CRET@h"}}, r"it must be without endpoint_url"),
        ({"path": "a", "options": {"anon": True}}, r"options.* only a URL has options"),
    ],
)
def test_params_have_no_credentials(source: dict[str, Any], message: str) -> None:
    with pytest.raises(ParamsError, match=message) as caught:
        make_params(sources=[source])
    assert "S3CRET" not in str(caught.value)


def test_a_listing_of_several_pages(server: Any, client: Any, tmp_path: Path) -> None:
    from moto.s3.models import s3_backends

    (backend,) = [backend for account in s3_backends.values() for backend in account.values() if backend.buckets]
    for number in range(2_100):
        backend.put_object("sets", f"many/{number:05d}.txt", b"x")
    bucket = Bucket("s3://sets/many", "key", {"endpoint_url": find_endpoint(server)})
    assert sorted(found.name for found in bucket.list_objects()) == [f"{number:05d}.txt" for number in range(2_100)]


def test_a_page_of_links_is_a_folder(local: Ingest, tmp_path: Path) -> None:
    plain = {name: content for name, content in FILES.items() if "\\" not in name and "/" not in name}
    links = "".join(f'<a href="{name}">' for name in ("?C=N;O=D", "..", *plain, "a%20b.txt", "sub/"))
    routes = {f"/files/{name}": Reply(content) for name, content in {**plain, "a%20b.txt": b"a b"}.items()}
    sub = {"/files/sub/": page('<a href="c.txt">'), "/files/sub/c.txt": Reply(b"c")}
    with serve({"/files/": page(links), **routes, **sub}) as site:
        found = run_ingest(tmp_path, make_params(root=f"http://{site.address}/files"))
        del site.routes["/files/sub/"]
        with pytest.raises(InputError, match=f"ingest.root is http://{site.address}/files: there is no such bucket or"):
            run_ingest(tmp_path, make_params(root=f"http://{site.address}/files"))
    write_files(tmp_path / "inbox", {**plain, "a b.txt": b"a b", "sub/c.txt": b"c"})
    assert found.hash_files() == run_ingest(tmp_path, make_params()).hash_files()


def test_a_connection_that_breaks_stops_the_stage_and_a_refused_object_does_not(tmp_path: Path) -> None:
    routes: dict[str, Any] = {"/files/": page('<a href="a.txt"><a href="b.txt">'), "/files/a.txt": Reply(b"a")}
    refused = lambda before: Reply(b"b", 200 if before < 1 else 403)  # noqa: E731 - listed, then refused
    with serve({**routes, "/files/b.txt": refused}) as site:
        found = run_ingest(tmp_path, make_params(root=f"http://{site.address}/files/"))
        assert found.reasons == {"folder:b.txt": "unreadable"}
        site.routes["/files/b.txt"] = Reply(b"b", length=10)
        message = (
            rf"ingest\.root: http://{site.address}/files/b\.txt: \w+ at try 2 of 2; look at the connection and run"
        )
        with pytest.raises(InputError, match=message):
            run_ingest(tmp_path, make_params(root=f"http://{site.address}/files/"))


def test_any_file_system_of_fsspec(tmp_path: Path) -> None:
    import fsspec

    files = {"a.txt": b"a", "d/b.txt": b"b", "c.zip": make_zip(MEMBERS)}
    write_files(tmp_path / "inbox", files)
    memory = fsspec.filesystem("memory")
    for name, content in files.items():
        memory.pipe(f"/source/{name}", content)
    local = run_ingest(tmp_path, make_params())
    for url in ("memory://source", f"file://{tmp_path}/inbox"):
        assert run_ingest(tmp_path, make_params(sources=[{"path": url}])).hash_files() == local.hash_files(), url
    memory.rm("/source", recursive=True)


def test_versions_and_patterns() -> None:
    assert find_version({"ETag": '"ab"', "LastModified": "x"}) == "ab"
    assert find_version({"created": None, "size": 1}) == ""
    assert split_url("s3://b/a/x-*/y.tar") == ("s3://b/a", "x-*/y.tar")
    assert split_url("s3://b/a.tar") == ("s3://b", "a.tar")
