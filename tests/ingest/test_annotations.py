"""Several rows a file: each caption is an item or a row, each sample and span of a file an item of its own."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import InputError, ParamsError
from pipeline.ingest.divide_file import GivenFacts, divide_file
from pipeline.tables.contracts import ANNOTATIONS
from pipeline.tables.item_names import name_part, split_part
from tests.support.ingesting import Response, make_image, make_params, run_ingest, write_files

NAMES = st.sampled_from([None, None, "a", "b", "2.000-3.500", "x/y"])
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            **dict.fromkeys(ANNOTATIONS, st.none()),
            "caption": st.sampled_from([None, "one", "two", "three"]),
            "label": NAMES,
            "group": NAMES,
            "licence": NAMES,
            "sample": NAMES,
            "start": st.sampled_from([None, None, 0.0, 2.0, 1 / 3]),
            "end": st.sampled_from([None, None, 3.5]),
        }
    ),
    max_size=8,
)


@given(ROWS)
@settings(max_examples=50)
def test_a_file_is_divided_into_segments(rows: Sequence[Mapping[str, Any]]) -> None:
    """Every caption is in one segment, in the order of the rows; names are unique; one segment has no name."""
    segments = divide_file(rows)
    assert len({segment.name for segment in segments}) == len(segments)
    assert len(segments) > 1 or segments[0].name == ""
    captions = [caption.text for segment in segments for caption in segment.captions]
    assert sorted(captions) == sorted(row["caption"] for row in rows if row["caption"] is not None)
    named = {(row["sample"], row["start"], row["end"]) for row in rows} - {(None, None, None)}
    found = {(each.facts.sample, each.facts.start, each.facts.end) for each in segments}
    assert found - {(None, None, None)} == named
    for segment in segments:
        assert [caption.number for caption in segment.captions] == list(range(1, len(segment.captions) + 1))
        labels = {row["label"] for row in rows} - {None}
        assert segment.facts.label in labels | {None}
        if len(labels) == 1 and len(segments) == 1:
            assert {segment.facts.label} == labels


@given(ROWS.map(lambda rows: rows[:1]))
@settings(max_examples=20)
def test_one_row_says_what_it_says_of_the_file_and_its_caption(rows: Sequence[Mapping[str, Any]]) -> None:
    (segment,) = divide_file(rows)
    facts = GivenFacts(**{name: rows[0][name] for name in GivenFacts._fields}) if rows else GivenFacts()
    assert (segment.name, segment.facts, segment.contradictions) == ("", facts, {})
    assert [caption.facts for caption in segment.captions] == [facts] * bool(rows and rows[0]["caption"])


@given(
    st.sampled_from(["", "caption", "en", "figcaption.x > p"]), st.integers(1, 200), st.sampled_from(["", "u/1", "b.2"])
)
def test_a_part_is_split_as_it_was_named(name: str, number: int, segment: str) -> None:
    assert split_part(name_part(name, number, segment)) == (name, number, f"/{segment}" if segment else "")


CELLS = st.fixed_dictionaries(
    {
        "file": st.sampled_from(["a.png", "./b.png", "sub/c.png", "sub/c", "gone.png", "", "t.txt"]),
        "caption": st.sampled_from(["", "one", "two", "a, b"]),
        "sample": st.sampled_from(["", "", "s1", "s2"]),
        "start": st.sampled_from(["", "", "1", "soon"]),
        "end": st.sampled_from(["", "", "3", "0"]),
    }
)


@given(st.lists(CELLS, min_size=1, max_size=8))
@settings(max_examples=5)
def test_every_caption_of_every_row_is_an_item_or_a_row(
    tmp_path_factory: pytest.TempPathFactory, cells: list[dict[str, str]]
) -> None:
    folder = tmp_path_factory.mktemp("rows")
    rows = "".join(json.dumps(row) + "\n" for row in cells)
    files: dict[str, bytes | str] = {name: make_image(n) for n, name in enumerate(("a.png", "b.png", "sub/c.png"))}
    files["t.txt"] = "t"
    write_files(folder / "inbox", files | {"t.jsonl": rows})
    try:
        result = run_ingest(folder, make_params(table="t.jsonl"))
    except InputError:
        return
    texts = [text for (_, part), text in result.read_texts().items() if split_part(part)[0] == "caption"]
    lost = {int(part.key.rpartition(":")[2]) for part in result.parts}
    kept = [row["caption"] for line, row in enumerate(cells, start=1) if line not in lost and row["caption"]]
    assert sorted(texts) == sorted(kept)
    assert {row["file"] for row in result.rows} == set(files)
    assert len({(row["file"], row["part"]) for row in result.rows}) == len(result.rows)


def test_captions_of_an_image_are_items_in_the_order_of_their_rows(tmp_path: Path) -> None:
    rows = [{"file": "a.png", "caption": f"version {number}"} for number in range(12)]
    write_files(tmp_path / "inbox", {"a.png": make_image(), "t.json": json.dumps(rows)})
    result = run_ingest(tmp_path, make_params(table="t.json"))
    names = ["caption", *(f"caption.{number}" for number in range(2, 13))]
    assert {name: text for (_, name), text in result.read_texts().items()} == {
        name: f"version {number}" for number, name in enumerate(names)
    }
    assert [row["part"] for row in result.rows if row["modality"] == "image"] == [""]


def test_spans_of_a_file_share_its_bytes(tmp_path: Path) -> None:
    rows = "a.png,one,u1,0,1\na.png,two,u2,1,2.5\na.png,three,u2,1,2.5\na.png,,u3,2,\n"
    write_files(tmp_path / "inbox", {"a.png": make_image(), "t.csv": f"file,caption,sample,start,end\n{rows}"})
    result = run_ingest(tmp_path, make_params(table="t.csv"))
    places = {(row["tar"], row["offset"]) for row in result.rows if row["modality"] == "image"}
    assert len(places) == 1
    assert {row["part"]: (row["sample"], row["start"], row["end"]) for row in result.rows} == {
        "/u1": ("u1", 0.0, 1.0),
        "/u2": ("u2", 1.0, 2.5),
        "/u3": ("u3", 2.0, None),
        "caption/u1": ("u1", 0.0, 1.0),
        "caption/u2": ("u2", 1.0, 2.5),
        "caption.2/u2": ("u2", 1.0, 2.5),
    }


def test_rows_that_contradict_each_other_leave_the_file_without_a_value(tmp_path: Path) -> None:
    rows = "a.png,one,cat,CC0\na.png,two,dog,CC-BY\n"
    write_files(tmp_path / "inbox", {"a.png": make_image(), "t.csv": f"file,caption,label,licence\n{rows}"})
    result = run_ingest(tmp_path, make_params(table="t.csv"))
    assert {row["part"]: (row["label"], row["licence"]) for row in result.rows} == {
        "": (None, "CC0; CC-BY"),
        "caption": ("cat", "CC0"),
        "caption.2": ("dog", "CC-BY"),
    }
    assert [(part.key, str(part.reason), part.value) for part in result.parts] == [
        ("folder:a.png", "ambiguous_label", "cat, dog")
    ]


TABLES: list[tuple[str, str, dict[str, Any]]] = [
    ("flickr.csv", "image_name| comment_number| comment\na.jpg| 0| one\na.jpg| 1| two | three\na.jpg| 2| four\n",
     {"delimiter": "|", "columns": {"file": "image_name", "caption": "comment"}}),
    ("metadata.csv", 'a|one, 1|one\na|"two" said he|two | three\na|four|four\n',
     {"delimiter": "|", "header": ["id", "raw", "text"], "columns": {"file": "id", "caption": "text"}}),
    ("a.trans.txt", "a one\na two | three\na four\n",
     {"kind": "csv", "delimiter": " ", "header": ["file", "caption"]}),
    ("validated.tsv", "path\tsentence\na.jpg\tone\na.jpg\ttwo | three\na.jpg\tfour\n",
     {"columns": {"file": "path", "caption": "sentence"}}),
    ("coco.json", json.dumps({
        "images": [{"id": 7, "file_name": "a.jpg", "license": 1}],
        "annotations": [{"image_id": 7, "caption": text} for text in ["one", "two | three", "four"]],
     }), {"columns": {"file": "file_name"}}),
    ("list.jsonl", json.dumps({"file": "./a.jpg", "caption": ["one", "two | three", "four"]}), {}),
    ("deep/t.csv", "name,caption\na,one\na,two | three\na,four\n",
     {"columns": {"file": "name"}, "folder": "images", "ending": ".jpg"}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content", "table"), TABLES, ids=[name for name, _, _ in TABLES])
def test_tables_as_public_sets_have_them(tmp_path: Path, name: str, content: str, table: dict[str, Any]) -> None:
    image = "images/a.jpg" if table.get("folder") else "a.jpg"
    write_files(tmp_path / "inbox", {image: make_image(), name: content})
    result = run_ingest(tmp_path, make_params(tables=[{"path": name, **table}]))
    texts = list(result.read_texts().values())
    if name == "flickr.csv":  # its header gives three columns, and the second row has four
        assert texts == ["one", "four"]
        assert [part.key for part in result.parts] == ["flickr.csv:3"]
    else:
        assert texts == ["one", "two | three", "four"]
        assert not result.parts


def test_a_parquet_table_may_hold_lists_of_captions(tmp_path: Path) -> None:
    write_files(tmp_path / "inbox", {"a.png": make_image()})
    rows = [{"image": "a.png", "texts": ["one", "two"]}, {"image": "b.png", "texts": []}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "inbox/t.parquet")
    table = {"path": "t.parquet", "columns": {"file": "image", "caption": "texts"}}
    result = run_ingest(tmp_path, make_params(tables=[table]))
    assert list(result.read_texts().values()) == ["one", "two"]
    assert [part.key for part in result.parts] == ["t.parquet:2"]


def test_several_tables_speak_of_one_file(tmp_path: Path) -> None:
    files: dict[str, bytes | str] = {"a.png": make_image(), "labels.csv": "file,label\na.png,cat\n"}
    files |= {f"{name}/t.csv": f"file,caption\n../a.png,by {name}\n" for name in ("ann", "bob")}
    write_files(tmp_path / "inbox", files)
    tables = [{"path": "labels.csv"}, {"path": "**/t.csv", "folder": "."}]
    result = run_ingest(tmp_path, make_params(tables=tables))
    assert list(result.read_texts().values()) == ["by ann", "by bob"]
    assert {row["part"]: row["label"] for row in result.rows} == {"": "cat", "caption": None, "caption.2": None}
    assert set(result.reasons.values()) == {"used_as_table"}
    assert len(result.reasons) == 3


def test_a_table_may_be_of_the_files_of_a_host(tmp_path: Path) -> None:
    write_files(tmp_path / "inbox", {"t.csv": "file,caption\na.png,one\n"})
    response = Response("http://a.test/a.png", make_image(), annotations=[{"caption": "two"}, {"caption": "three"}])
    table = {"path": "t.csv", "source": "a.test"}
    result = run_ingest(tmp_path, make_params(tables=[table]), [response])
    assert list(result.read_texts().values()) == ["two", "three", "one"]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"path": "t.unknown"}, r"tables.0.kind .*it must say what t.unknown is"),
        ({"path": "t.json", "delimiter": "|"}, r"tables.0.delimiter .*t.json is json"),
        ({"path": "t.csv", "columns": {"captoin": "c"}}, "captoin"),
    ],
)
def test_a_table_that_is_described_wrongly_is_refused(table: dict[str, Any], message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        make_params(tables=[table])


def test_a_pattern_without_tables_is_refused(tmp_path: Path) -> None:
    write_files(tmp_path / "inbox", {"a.txt": "a"})
    with pytest.raises(InputError, match=r"no file below .* matches '\*\*/\*.csv'"):
        run_ingest(tmp_path, make_params(tables=[{"path": "**/*.csv"}]))
