"""Test URL lists: their formats, several rows a URL, and bad rows."""

import csv
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.crawl.params import UrlList
from pipeline.crawl.url_lists import ListedUrl, read_lists
from pipeline.errors import InputError
from pipeline.formats.tabular.read_rows import read_rows
from pipeline.formats.tabular.rows import BadRow, RequestedColumns, TextRow
from pipeline.tables.drops import Drop, Reason
from tests.support.crawling import START, make_params, run_crawl
from tests.support.loopback import Reply, Route, page, serve

pytestmark = pytest.mark.slow

URL = RequestedColumns(["url"])
IMAGE = Reply(b"\x89PNG\r\n\x1a\n" + bytes(100), headers={"Content-Type": "image/png"})


@pytest.mark.parametrize("ending", ["csv", "tsv", "json", "jsonl", "parquet"])
def test_lists(tmp_path: Path, ending: str) -> None:
    rows: list[dict[str, str | None]] = [
        {"link": f"{START}a.png", "text": "an image", "kind": "one", "by": "Ann"},
        {"link": f"{START}b.png", "text": None, "kind": "two", "by": None},
        {"link": f"{START}page", "text": "pages in lists are not followed", "kind": None, "by": None},
    ]
    write_list(tmp_path / f"list.{ending}", rows)
    list_ = {"file": f"list.{ending}", "url": "link", "caption": "text", "label": "kind", "attribution": "by"}
    routes: dict[str, Route] = {"/a.png": IMAGE, "/b.png": IMAGE, "/page": page('<a href="/c">c</a>')}
    with serve(routes) as site:
        params = make_params(address=site.address, start=[], lists=[list_], lists_folder=str(tmp_path))
        result = run_crawl(tmp_path, params)
    assert not result.drops
    assert {url: (row["page"], row["depth"]) for url, row in result.rows.items()} == {
        row["link"]: (row["link"], 0) for row in rows
    }
    said = [(row["url"], row["caption"], row["label"], row["attribution"]) for row in result.list_rows]
    assert said == [(row["link"], row["text"], row["kind"], row["by"]) for row in rows]
    assert (
        result.rows[f"{START}a.png"]["offset"] == result.rows[f"{START}b.png"]["offset"]
    )  # equal bytes are stored once


def write_list(path: Path, rows: list[dict[str, str | None]]) -> None:
    if path.suffix in (".csv", ".tsv"):
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, rows[0].keys(), delimiter="," if path.suffix == ".csv" else "\t")
            writer.writeheader()
            writer.writerows(rows)
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows), encoding="utf-8")
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)


def test_bad_rows_of_a_list_are_dropped_by_file_and_line(tmp_path: Path) -> None:
    lines = [
        b"\xef\xbb\xbfurl,caption",
        f"{START}a.png,fine".encode(),
        b"ftp://host/x,no web",
        b",no url",
        f"{START}a.png,again".encode(),
        f"{START}b.png,too,many".encode(),
        f'{START}b.png,"open quote'.encode(),
        f"{START}b.png,caf\xe9".encode("latin-1"),
        f'{START}b.png,"fine, with a comma\nand a line feed"'.encode(),
        b"http://me:secret@site.test/,credentials",
    ]
    (tmp_path / "bad.csv").write_bytes(b"\n".join(lines) + b"\n")
    with serve({"/a.png": IMAGE, "/b.png": IMAGE}) as site:
        list_ = {"file": "bad.csv", "caption": "caption"}
        params = make_params(address=site.address, start=[], lists=[list_], lists_folder=str(tmp_path))
        result = run_crawl(tmp_path, params)
    assert result.reasons == {
        "bad.csv:3": "bad_url",
        "bad.csv:4": "empty",
        "bad.csv:6": "unreadable",
        "bad.csv:7": "unreadable",
        "bad.csv:8": "not_utf8",
        "bad.csv:11": "bad_url",
    }
    captions = [(row["url"], row["line"], row["caption"]) for row in result.list_rows]
    assert captions == [
        (f"{START}a.png", 2, "fine"),
        (f"{START}a.png", 5, "again"),
        (f"{START}b.png", 9, "fine, with a comma\nand a line feed"),
    ]
    assert all("secret" not in str(drop) for drop in result.drops)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.csv", None, "is missing"),
        ("list.csv", b"link,caption\n", "no column 'url'.*it has link, caption"),
        ("list.csv", b"urll\n", "did you mean 'urll'"),
        ("list.csv", b"url,url\n", "two columns 'url'"),
        ("list.csv", b"", "must name the columns"),
        ("list.parquet", b"PAR1 and nothing else", "damaged"),
    ],
)
def test_a_list_that_cannot_be_used_stops_the_run(
    tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        run_crawl(tmp_path, make_params(start=[], lists=[{"file": name}], lists_folder=str(tmp_path)))


JSON_LINES = [
    (b'{"url": "http://a.test/"}', None),
    (b'{"url": "http://a.test/", "n": 1e999}', None),
    (b"", "no row"),
    (b"   ", "no row"),
    (b"{", Reason.UNREADABLE),
    (b"[1, 2]", Reason.UNREADABLE),
    (b'"http://a.test/"', Reason.UNREADABLE),
    (b'{"url": "http://a.test/", "url": "http://b.test/"}', Reason.UNREADABLE),
    (b'{"url": ["http://a.test/"]}', Reason.UNREADABLE),
    (b'{"url": "http://a.test/\\u0000"}', Reason.UNREADABLE),
    (b'{"url": "http://a.test/\\ud800"}', Reason.NOT_UTF8),
    (b'{"url": NaN}', Reason.UNREADABLE),
    (b'{"url": "caf\xe9"}', Reason.NOT_UTF8),
    (b"[" * 100_000, Reason.UNREADABLE),
    (b'{"url": ' + b"9" * 5000 + b"}", Reason.UNREADABLE),
    (b'{"caption": "no url"}', Reason.EMPTY),
    (b'{"url": 7}', Reason.BAD_URL),
]


def test_bad_json_lines_are_dropped(tmp_path: Path) -> None:
    (tmp_path / "list.jsonl").write_bytes(b"\n".join(line for line, _ in JSON_LINES))
    rows = list(read_lists(tmp_path, [UrlList(file="list.jsonl")]))
    expected = [(number, verdict) for number, (_, verdict) in enumerate(JSON_LINES, 1) if verdict != "no row"]
    assert [(row.key, row.reason) if isinstance(row, Drop) else (f"{row.file}:{row.line}", None) for row in rows] == [
        (f"list.jsonl:{number}", verdict) for number, verdict in expected
    ]


def test_one_file_with_two_url_columns(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("image,audio\nhttp://a.test/1,\n")
    lists = [UrlList(file="list.csv", url="image"), UrlList(file="list.csv", url="audio")]
    image, audio = read_lists(tmp_path, lists)
    assert isinstance(image, ListedUrl)
    assert (image.file, image.line, image.url) == ("list.csv[image]", 2, "http://a.test/1")
    assert isinstance(audio, Drop)
    assert audio.key == "list.csv[audio]:2"


def test_values_that_python_lacks_drop_only_their_row(tmp_path: Path) -> None:
    ends, text = pa.array([0, 1, 3, 4], pa.int32()).buffers()[1], pa.py_buffer(b"a\xff\xfec")
    bad = pa.Array.from_buffers(pa.string(), 3, [None, ends, text])
    pq.write_table(pa.table({"url": bad, "label": [1.5, 2.5, float("nan")]}), tmp_path / "list.parquet")
    first, second, third = read_rows(tmp_path / "list.parquet", RequestedColumns(["url", "label"]))
    assert first == TextRow(1, {"url": "a", "label": "1.5"})
    assert isinstance(second, BadRow)
    assert third == TextRow(3, {"url": "c", "label": None})
    pq.write_table(pa.table({"url": pa.array([1, None], pa.timestamp("ns"))}), tmp_path / "list.parquet")
    assert isinstance(next(iter(read_rows(tmp_path / "list.parquet", URL))), BadRow)


def test_an_unclosed_quote_drops_only_its_line(tmp_path: Path) -> None:
    lines = ["url", 'http://a.test/,"', *(f"http://a.test/{number}" for number in range(500))]
    (tmp_path / "list.csv").write_text("\r\n".join(lines))
    first, *others = read_rows(tmp_path / "list.csv", URL)
    assert isinstance(first, BadRow)
    assert first.line == 2
    assert [row.line for row in others if isinstance(row, TextRow)] == list(range(3, 503))


def test_a_huge_field_drops_only_its_line(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("url\n" + "a" * (10 << 20) + "\nhttp://a.test/\n")
    huge, fine = read_rows(tmp_path / "list.csv", URL)
    assert isinstance(huge, BadRow)
    assert fine == TextRow(3, {"url": "http://a.test/"})


@given(content=st.binary(max_size=200), ending=st.sampled_from(["csv", "jsonl"]))
def test_any_bytes_give_rows_or_an_input_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, ending: str
) -> None:
    path = tmp_path_factory.mktemp("rows") / f"list.{ending}"
    path.write_bytes(b"url,b\n" + content)
    lines = [row.line for row in read_rows(path, URL)]
    assert lines == sorted(set(lines))
