"""Tables of bytes and shards of WebDataset give the items of the folder that they were made of, with what they say."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import ParamsError
from pipeline.formats.format_errors import FormatFault
from pipeline.ingest.sources.parquet import read_records
from pipeline.ingest.sources.webdataset import split_name
from tests.support.archives import make_arrow, make_parquet, make_tar
from tests.support.ingesting import Ingest, make_image, make_params, run_ingest, write_files

FILES = {f"{kind}/{number}.png": make_image(number) for number in range(4) for kind in ("cat", "dog")}
FILES |= {f"cat/{number}.txt": b"cat %d" % number for number in range(4)} | {"dog/noise": b"\0\1\2"}


def run_on(folder: Path, file: str, content: bytes, **source: object) -> Ingest:
    (folder / file).write_bytes(content)
    return run_ingest(folder, make_params(sources=[{"path": str(folder / file), **source}]))


def drop_samples(result: Ingest) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name != "sample"} for row in result.rows]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Ingest:
    place = tmp_path_factory.mktemp("folder")
    write_files(place / "inbox", FILES)
    return run_ingest(place, make_params())


def make_hub_table(**columns: Any) -> pa.Table:
    """A table as `datasets` of Hugging Face writes them."""
    cells = [{"bytes": content, "path": name} for name, content in FILES.items()]
    return pa.table({"image": cells, **columns})


TABLES = {
    "hub.parquet": make_parquet(make_hub_table()),
    "file.arrow": make_arrow(make_hub_table()),
    "stream.arrow": make_arrow(make_hub_table(), stream=True),
    "plain.parquet": make_parquet(pa.table({"file": [f"./{name}" for name in FILES], "data": [*FILES.values()]})),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_of_bytes_gives_the_bytes_of_its_folder(tmp_path: Path, name: str, folder: Ingest) -> None:
    assert run_on(tmp_path, name, TABLES[name], kind="parquet").hash_files() == folder.hash_files()


@pytest.mark.parametrize("compression", ["", "gz"])
def test_a_shard_gives_the_items_of_its_folder(tmp_path: Path, compression: str, folder: Ingest) -> None:
    result = run_on(tmp_path, "x.tar", make_tar(FILES, compression), kind="webdataset")
    assert drop_samples(result) == drop_samples(folder)
    assert {row["file"]: row["sample"] for row in result.rows} == {
        name: name.partition(".")[0] for name in FILES if "noise" not in name
    }


def test_columns_annotate_the_files_of_their_row(tmp_path: Path) -> None:
    cells = [{"bytes": make_image(number), "path": None} for number in range(3)] + [{"bytes": None, "path": "x"}]
    table = pa.table(
        {
            "image": cells,
            "mask": [make_image(9), None, None, b""],
            "label": [1, 0, None, 1],
            "text": [["one", "two"], ["three"], [], None],
            "fold": ["train", "test", "val", "val"],
            "other": [1.5, 2.5, None, 0.0],
        }
    )
    features = {"label": {"_type": "ClassLabel", "names": ["cat", "dog"]}, "image": {"_type": "Image"}}
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    for name, content in {"x.parquet": make_parquet(table), "x.arrow": make_arrow(table, stream=True)}.items():
        result = run_on(
            tmp_path, name, content, kind="parquet", columns={"caption": "text", "split": "fold"}, name="hub"
        )
        found = {(row["file"], row["part"]): (row["label"], row["split"]) for row in result.rows if not row["part"]}
        assert found == {
            ("000000000.image", ""): ("dog", "train"),
            ("000000000.mask", ""): ("dog", "train"),
            ("000000001.image", ""): ("cat", "test"),
            ("000000002.image", ""): (None, "val"),
        }
        texts = {text for (file, _), text in result.read_texts().items() if file.endswith(".image")}
        assert texts == {"one", "two", "three"}
        assert result.outcome.seen == 8
        assert {*result.reasons.values()} == {"empty"}


def test_fields_annotate_the_files_of_their_sample(tmp_path: Path) -> None:
    files = {
        "a/1.jpg": make_image(1),
        "a/1.cls": b"3\n",
        "a/1.json": json.dumps({"text": ["a cat", "one cat"], "split": "val", "width": 8}).encode(),
        "a/1.txt": b"from the text",
        "2.png": make_image(2),
        "2.json": b"{damaged",
    }
    result = run_on(tmp_path, "x.tar", make_tar(files), kind="webdataset", columns={"caption": "text"})
    found = {
        (row["file"], row["modality"]): [row[name] for name in ("label", "split", "sample")] for row in result.rows
    }
    assert found == {
        ("a/1.jpg", "image"): ["3", "val", "a/1"],
        ("a/1.jpg", "text"): ["3", "val", "a/1"],
        ("a/1.txt", "text"): ["3", "val", "a/1"],
        ("2.png", "image"): [None, None, "2"],
    }
    assert sorted(result.read_texts().values()) == ["a cat", "from the text", "one cat"]
    assert {part.key: part.count for part in result.parts} == {"folder:x.tar": 3}
    assert (result.outcome.seen, result.drops) == (3, [])


@given(folder=st.sampled_from(["", "a/", "a.b/c/"]), stem=st.text("ab-", max_size=3), ending=st.text("ab.", max_size=4))
def test_a_key_ends_at_the_first_dot_of_the_name(folder: str, stem: str, ending: str) -> None:
    assert split_name(f"./{folder}{stem}.{ending}".encode()) == (f"{folder}{stem}".encode(), ending.encode())


def test_tables_in_a_folder(tmp_path: Path) -> None:
    plain = make_parquet(pa.table({"file": ["b.txt"], "label": ["one"]}))
    files = {"train.parquet": TABLES["hub.parquet"], "table.parquet": plain, "other.parquet": plain, "b.txt": b"b"}
    write_files(tmp_path / "inbox", files)
    result = run_ingest(tmp_path, make_params(table="table.parquet"))
    kept = {row["file"]: row["label"] for row in result.rows}
    assert kept == {"b.txt": "one", **{f"train.parquet/{name}": None for name in FILES if "noise" not in name}}
    assert result.reasons == {
        "folder:table.parquet": "used_as_table",
        "folder:other.parquet": "unsupported_type",
        "folder:train.parquet/dog/noise": "unsupported_type",
    }


def test_tables_that_cannot_be_read_are_rows(tmp_path: Path) -> None:
    content = TABLES["hub.parquet"]
    lacking = make_parquet(pa.table({"a": [1]}))
    write_files(tmp_path / "in", {"cut.parquet": content[:-9], "text.parquet": b"text", "lacking.parquet": lacking})
    sources = [{"kind": "parquet", "path": str(tmp_path / "in/*.parquet")}]
    result = run_ingest(tmp_path, make_params(sources=sources))
    assert result.reasons == {
        "folder:cut.parquet": "unreadable",
        "folder:text.parquet": "unreadable",
        "folder:lacking.parquet": "no_items",
    }
    mapped = run_on(tmp_path, "x.parquet", content, kind="parquet", columns={"label": "class"})
    assert mapped.reasons == {"folder:x.parquet": "unreadable"}
    assert "class" in mapped.drops[0].detail
    with pytest.raises(ParamsError, match=r"ingest\.sources\.0\.columns"):
        make_params(sources=[{"path": "x", "columns": {"label": "class"}}])


@settings(max_examples=40)
@given(name=st.sampled_from([*TABLES]), where=st.floats(0, 1, exclude_max=True))
def test_a_cut_table_is_a_fault_and_no_crash(name: str, where: float, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("cut") / name
    path.write_bytes(TABLES[name][: int(where * len(TABLES[name]))])
    try:
        batches = list(read_records(path, None))
    except FormatFault:
        return
    assert sum(batch.num_rows for batch in batches[1:]) <= len(FILES)
