"""Test that files become items with an identity, or dropped rows with a reason."""

import hashlib
import os
import socket
import threading
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import InputError, ParamsError, TooManyDrops
from pipeline.inputs.read_file import read_file
from pipeline.tables.blob_store import TarReader, read_location
from pipeline.tables.drops import Reason, Rejection
from pipeline.tables.item_names import escape_name, name_any_url, name_url
from tests.support.ingesting import Response, make_image, make_params, run_ingest, write_files

STAMPS = Path(os.environ.get("SHARDWRIGHT_STAMPS", Path(__file__).parents[3] / "shared" / "data" / "stamps"))


def test_files_of_every_type_become_items_or_dropped_rows(tmp_path: Path) -> None:
    image = make_image()
    files: dict[str, bytes | str] = {
        "a/cat.png": image,
        "a/cat.txt": "A cat.\n",
        "a/really a png.jpg": image,
        "b/page.html": '<html lang="fr-CA"><head><meta name=kind content=dog></head><figcaption>un  chien</figcaption>',
        "b/bare.html": "<!doctype html><p>nothing marked",
        "b/error.jpg": "<html><body>404 not found</body></html>",
        "b/sorry.wav": "no such audio",
        "c/empty.png": b"",
        "c/blank.txt": " \n\t",
        "c/latin.txt": "café".encode("latin-1"),
        "c/russian.txt": "Кошка".encode("cp1251"),
        "c/photo.jxl": b"\xff\x0a\x00\x01",
        "c/noise": b"\x00\x01\x02\x03",
        ".gitignore": "*",
    }
    write_files(tmp_path / "inbox", files)
    result = run_ingest(tmp_path, make_params())
    assert result.reasons == {
        "folder:b/bare.html": "no_items",
        "folder:b/error.jpg": "type_mismatch",
        "folder:b/sorry.wav": "type_mismatch",
        "folder:c/empty.png": "empty",
        "folder:c/blank.txt": "empty",
        "folder:c/russian.txt": "not_utf8",
        "folder:c/photo.jxl": "unsupported_type",
        "folder:c/noise": "unsupported_type",
    }
    assert result.outcome.seen == len(files) - 1
    rows = {row["file"]: row for row in result.rows}
    assert list(rows) == ["a/cat.png", "a/cat.txt", "a/really a png.jpg", "b/page.html", "c/latin.txt"]
    assert rows["a/really a png.jpg"]["media_type"] == "image/png"
    assert rows["a/really a png.jpg"]["offset"] == rows["a/cat.png"]["offset"]  # equal bytes are stored once
    assert rows["a/really a png.jpg"]["id"] != rows["a/cat.png"]["id"]
    assert (rows["b/page.html"]["language"], rows["b/page.html"]["page_label"]) == ("fr", "dog")
    assert result.read_texts() == {
        ("a/cat.txt", ""): "A cat.",
        ("b/page.html", "figcaption"): "un chien",
        ("c/latin.txt", ""): "café",
    }
    assert result.outcome.notes == ["5 items: 2 image, 3 text", "texts in a guessed encoding: 1 cp1252"]
    with TarReader(result.data) as reader:
        for row in result.rows:
            content = reader.read(read_location(row))
            assert hashlib.sha256(content).hexdigest() == row["sha256"]
            identity = "\0".join((row["sha256"], row["source"], row["file"], row["part"]))
            assert hashlib.sha256(identity.encode()).hexdigest() == row["id"]


def test_the_bytes_do_not_depend_on_the_folder(tmp_path: Path) -> None:
    hashes = []
    for name in ("one", "another folder"):
        files = {f"{number}/file {number}.txt": f"text {number % 3}" for number in range(9)}
        write_files(tmp_path / name / "inbox", dict(sorted(files.items(), reverse=name == "one")))
        hashes.append(run_ingest(tmp_path / name, make_params()).hash_files())
    assert hashes[0] == hashes[1]


NAMES = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=20).filter(
    lambda name: name not in (".", "..") and len(name.encode()) < 200
)
CONTENTS = st.one_of(
    st.binary(max_size=40),
    st.text(max_size=40).map(str.encode),
    st.sampled_from([make_image(), b"<html><figcaption>x</figcaption>", b"fLaC", b"OggS", b""]),
)


@settings(max_examples=30)
@given(files=st.dictionaries(NAMES, CONTENTS, min_size=1, max_size=8))
def test_every_file_is_kept_or_dropped_by_name(files: dict[str, bytes]) -> None:
    with TemporaryDirectory() as folder:
        write_files(Path(folder) / "inbox", files)
        result = run_ingest(Path(folder), make_params(ignore=[]))
        kept, reasons = {f"folder:{row['file']}" for row in result.rows}, result.reasons
    assert result.outcome.seen == len(files)
    assert kept | set(reasons) == {f"folder:{escape_name(name.encode())}" for name in files}
    assert not kept & set(reasons)
    assert result.outcome.kept == len(kept)


def test_links_out_of_the_folder_and_special_files_are_refused(tmp_path: Path) -> None:
    root = write_files(tmp_path / "inbox", {"in/a.txt": "fine"})
    (tmp_path / "secret.txt").write_text("not yours")
    (root / "out.txt").symlink_to(tmp_path / "secret.txt")
    (root / "loop").symlink_to(root)
    (root / "self").symlink_to(root / "self")
    (root / "broken").symlink_to(root / "nowhere")
    (root / "also a").symlink_to("in/a.txt")
    os.mkfifo(root / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(root / "socket"))
        (root / "line\nfeed.txt").write_text("newline")
        Path(os.fsdecode(os.fsencode(root) + b"/caf\xe9.txt")).write_text("latin")
        (root / ("n" * 251 + ".txt")).write_text("long")
        result = run_ingest(tmp_path, make_params())
    assert result.reasons == {
        f"folder:{name}": "not_a_file" for name in ("out.txt", "loop", "self", "broken", "fifo", "socket")
    }
    assert {row["file"] for row in result.rows} == {
        "in/a.txt", "also a", r"line\x0afeed.txt", r"caf\xe9.txt", "n" * 251 + ".txt",
    }  # fmt: skip


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "growing"
    path.write_bytes(b"x")
    ended = threading.Event()

    def grow() -> None:
        while not ended.is_set():
            with path.open("ab") as file:
                file.write(b"x" * 64)

    writer = threading.Thread(target=grow)
    writer.start()
    verdicts = [read_file(path) for _ in range(300)]
    ended.set()
    writer.join()
    refused = [verdict for verdict in verdicts if isinstance(verdict, Rejection)]
    assert all(verdict.reason is Reason.CHANGED_WHILE_READ for verdict in refused)
    assert read_file(path) == path.read_bytes()
    assert read_file(tmp_path / "gone") == Rejection(Reason.UNREADABLE, "the file cannot be opened")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_files_and_folders_without_access_are_unreadable(tmp_path: Path) -> None:
    root = write_files(tmp_path / "inbox", {"a.txt": "a", "b/c.txt": "c", "d.txt": "d"})
    (root / "a.txt").chmod(0)
    (root / "b").chmod(0)
    result = run_ingest(tmp_path, make_params())
    (root / "b").chmod(0o700)
    assert result.reasons == {"folder:a.txt": "unreadable", "folder:b/": "unreadable"}


def test_names_are_escaped_one_to_one() -> None:
    assert escape_name(b"caf\xe9\n") == r"caf\xe9\x0a"
    assert escape_name(rb"caf\xe9") == r"caf\\xe9"
    assert escape_name("é\u2028".encode()) == "é\\u2028"


@given(one=st.binary(max_size=8), other=st.binary(max_size=8))
def test_no_two_names_are_escaped_alike(one: bytes, other: bytes) -> None:
    assert (escape_name(one) == escape_name(other)) == (one == other)


@pytest.mark.parametrize(
    ("url", "source", "file"),
    [
        ("http://a.test/", "a.test", "/"),
        ("http://a.test/b/c.png", "a.test", "b/c.png"),
        ("http://a.test:8000/b/", "a.test:8000", "b/"),
        ("http://a.test/b%20c/%C3%A9.png", "a.test", "b c/é.png"),
        ("http://a.test/%E9%0A", "a.test", r"\xe9\x0a"),
        ("http://a.test/b%2Fc", "a.test", "b%2Fc"),
        ("http://a.test/b?c=%20d", "a.test", "b?c=%20d"),
        ("http://a.test/?c", "a.test", "/?c"),
    ],
)
def test_names_of_urls(url: str, source: str, file: str) -> None:
    assert name_url(url) == (source, file)


@given(
    host=st.text("ab.-:1_", min_size=1, max_size=6),
    path=st.text("ab1/.~!$&'()*+,;=:@-_", max_size=12),
    rest=st.sampled_from(["", "?c", "%20", "é", "\\", "[", " "]),
)
def test_plain_urls_are_named_as_all_others(host: str, path: str, rest: str) -> None:
    url = f"http://{host}/{path}{rest}"
    assert name_url(url) == name_any_url(url)


PAGE = """<html lang=en><head><meta name=kind content=frog><meta name=author content=Ann></head>
<body><a rel="license" href="https://example.org/cc0">CC0</a><figcaption>a frog</figcaption></body></html>"""


def test_facts_of_a_page_apply_to_what_it_embeds(tmp_path: Path) -> None:
    url = "http://a.test/frog.html"
    responses = [
        Response(url, PAGE, "http://a.test/", "text/html"),
        Response("http://a.test/frog.png", make_image(), url, "image/png"),
        Response("http://a.test/other.png", make_image(1), "http://a.test/"),
        Response("http://a.test/", "<!doctype html><p>index"),
        Response("http://a.test/gone.png", None, url),
        Response("http://a.test/fake.png", "<html>sorry", url, "image/png"),
        Response("http://a.test/audio", "sorry", url, "audio/ogg"),
    ]
    result = run_ingest(tmp_path, make_params(attribution="nobody"), responses)
    assert result.outcome.seen == 6
    assert result.reasons == {
        "a.test:/": "no_items",
        "a.test:fake.png": "type_mismatch",
        "a.test:audio": "type_mismatch",
    }
    rows = {row["file"]: row for row in result.rows}
    columns = ("page", "page_label", "licence", "attribution", "url")
    annotations = ("frog", "https://example.org/cc0", "Ann")
    assert [rows["frog.html"][name] for name in columns] == [url, *annotations, url]
    assert [rows["frog.png"][name] for name in columns] == [url, *annotations, "http://a.test/frog.png"]
    assert [rows["other.png"][name] for name in columns] == [
        "http://a.test/",
        None,
        None,
        "nobody",
        rows["other.png"]["url"],
    ]


def test_a_page_with_an_empty_text(tmp_path: Path) -> None:
    responses = [Response("http://a.test/a", "<html><figcaption> </figcaption>")]
    assert run_ingest(tmp_path, make_params(), responses).reasons == {"a.test:a": "empty"}
    assert run_ingest(tmp_path, make_params(page_text=None), responses).reasons == {"a.test:a": "no_items"}


def test_the_caption_of_a_listed_url_is_an_item(tmp_path: Path) -> None:
    url = "http://a.test/a.png"
    annotations = {"caption": "a word", "label": "one", "split": "test", "licence": "CC0", "attribution": "Ann"}
    result = run_ingest(tmp_path, make_params(), [Response(url, make_image(), url, annotations=annotations)])
    image, caption = result.rows
    assert [(row["part"], row["modality"], row["page"]) for row in (image, caption)] == [
        ("", "image", url),
        ("caption", "text", url),
    ]
    for row in (image, caption):
        assert {name: row[name] for name in ("label", "split", "licence", "attribution")} == {
            name: value for name, value in annotations.items() if name != "caption"
        }
    assert result.read_texts() == {("a.png", "caption"): "a word"}


def test_bytes_in_the_tars_of_the_crawl_are_not_written_again(tmp_path: Path) -> None:
    image = make_image()
    responses = [
        Response("http://a.test/1.png", image),
        Response("http://a.test/2.png", image),
        Response("http://a.test/3.txt", "A text becomes items of its own."),
    ]
    (tmp_path / "inbox").mkdir()
    (tmp_path / "inbox/4.png").write_bytes(image)
    found = run_ingest(tmp_path, make_params(), responses)
    assert {row["file"]: row["tar"].split("/")[0] for row in found.rows} == {
        "1.png": "1_crawled",
        "2.png": "1_crawled",
        "3.txt": "2_ingested",
        "4.png": "1_crawled",
    }
    with TarReader(found.data) as reader:
        assert {reader.read(read_location(row)) for row in found.rows if row["modality"] == "image"} == {image}


def test_a_damaged_response_is_named(tmp_path: Path) -> None:
    def spoil(folder: Path) -> None:
        tar = folder / "1_crawled/responses-000000.tar"
        content = bytearray(tar.read_bytes())
        content[520] ^= 1
        tar.write_bytes(content)

    with pytest.raises(InputError, match=r"1_crawled/responses-000000\.tar is damaged at http://a\.test/1\.png"):
        run_ingest(tmp_path, make_params(), [Response("http://a.test/1.png", make_image())], spoil)


def test_a_caption_and_a_part_with_the_same_name_are_one_item(tmp_path: Path) -> None:
    annotations = {"caption": "from the list"}
    page = "<!doctype html><table><caption>from the page</caption></table>"
    result = run_ingest(
        tmp_path, make_params(page_text="caption"), [Response("http://a.test/", page, annotations=annotations)]
    )
    assert result.read_texts() == {("/", "caption"): "from the list"}
    assert [(part.reason, part.count) for part in result.parts] == [("duplicate", 1)]


def test_parts_left_out_are_in_the_summary(tmp_path: Path) -> None:
    write_files(tmp_path / "inbox", {"a.txt": "A cat.\nde=Eine Katze.\nfr=Un chat.\n", "bmp": "no ending"})
    result = run_ingest(tmp_path, make_params(text="tagged_lines", languages=["en"]))
    assert result.outcome.notes == ["2 items: 2 text", "2 parts left out: part_not_selected"]


def test_http_and_https_of_one_path_are_one_file(tmp_path: Path) -> None:
    responses = [Response(f"{scheme}://a.test/a.png", make_image()) for scheme in ("http", "https")]
    result = run_ingest(tmp_path, make_params(), responses)
    assert result.reasons == {"http://a.test/a.png": "duplicate"}
    assert result.rows[0]["url"] == "https://a.test/a.png"


def test_files_without_an_allowed_licence_are_refused(tmp_path: Path) -> None:
    url = "http://a.test/frog.html"
    responses = [
        Response(url, PAGE),
        Response("http://a.test/frog.png", make_image(), url),
        Response("http://a.test/own.png", make_image(), url, annotations={"licence": "proprietary"}),
    ]
    write_files(tmp_path / "inbox", {"a.txt": "of unknown origin"})
    free = ["https://example.org/cc0"]
    result = run_ingest(tmp_path, make_params(licences=free), responses)
    assert result.reasons == {"a.test:own.png": "licence_refused", "folder:a.txt": "licence_refused"}
    assert {drop.value for drop in result.drops} == {"proprietary", "none"}
    trusting = run_ingest(tmp_path, make_params(licences=free, licence=free[0]), responses)
    assert trusting.reasons == {"a.test:own.png": "licence_refused"}


def test_settings_that_cannot_be_used_stop_the_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"crawl\.start"):
        run_ingest(tmp_path, make_params())
    with pytest.raises(InputError, match=r"the crawl kept none of 2 URLs \(2 timeout\): raise crawl\.refresh"):
        run_ingest(tmp_path, make_params(), [Response(f"http://a.test/{name}", None) for name in "xy"])
    with pytest.raises(InputError, match=r"ingest\.root is .*missing, which is not a folder"):
        run_ingest(tmp_path, make_params(root="missing"))
    with pytest.raises(ParamsError, match=r"ingest\.page_text"):
        run_ingest(tmp_path, make_params(page_text="p["))
    with pytest.raises(ParamsError, match=r"ingest\.text"):
        make_params(text="words")
    write_files(tmp_path / "inbox", {"a.txt": "a", "b": b"\x00", "c": b"\x00"})
    with pytest.raises(TooManyDrops, match=r"2 unsupported_type.*ingest\.max_dropped"):
        run_ingest(tmp_path, make_params(max_dropped=0.5))


def test_dropped_rows_have_the_setting_that_decided(tmp_path: Path) -> None:
    files: dict[str, bytes | str] = {
        "table.csv": "file,licence\na.txt,free\nb.txt,free\nbare.html,free\n",
        "a.txt": "A cat.\nde=Eine Katze.\nnot a caption\n",
        "b.txt": "",
        "bare.html": "<!doctype html><p>nothing marked",
        "c.txt": "of unknown origin",
    }
    (write_files(tmp_path / "inbox", files) / "out").symlink_to(tmp_path)
    captions = {"text": "tagged_lines", "table": "table.csv", "licences": ["free"]}
    result = run_ingest(tmp_path, make_params(languages=["en"], **captions))
    assert {part.setting: part.count for part in result.parts} == {"ingest.text": 1, "ingest.languages": 1}
    assert {drop.key: drop.setting for drop in result.drops} == {
        "folder:table.csv": "ingest.table",
        "folder:b.txt": "",
        "folder:bare.html": "ingest.page_text",
        "folder:c.txt": "ingest.licences",
        "folder:out": "ingest.links",
    }
    other = run_ingest(tmp_path, make_params(languages=["fr"], page_text=None, **captions))
    assert other.read_settings()["folder:a.txt"] == "ingest.languages"
    assert other.read_settings()["folder:bare.html"] == "ingest.page_text"
    assert not any("ingest." in drop.detail for drop in (*result.drops, *result.parts))


def test_a_dropped_duplicate_has_the_key_of_the_kept_file(tmp_path: Path) -> None:
    responses = [Response(f"{scheme}://a.test/a.png", make_image()) for scheme in ("http", "https")]
    (drop,) = run_ingest(tmp_path, make_params(), responses).drops
    assert (drop.key, drop.kept_key) == ("http://a.test/a.png", "a.test:a.png")


@pytest.mark.skipif(not STAMPS.is_dir(), reason="the stamps corpus is not there")
def test_every_file_of_stamps_is_accounted_for(tmp_path: Path) -> None:
    result = run_ingest(tmp_path, make_params(root=str(STAMPS), text="tagged_lines", languages=["en"]))
    files = {f"folder:{path.relative_to(STAMPS).as_posix()}" for path in STAMPS.rglob("*") if path.is_file()}
    assert result.outcome.seen == len(files)
    assert {f"folder:{row['file']}" for row in result.rows} | set(result.reasons) == files
    assert {row["part"] for row in result.rows} == {"", "en"}
