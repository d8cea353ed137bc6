"""The texts in the rows of tables are files, annotated by the other columns."""

import json
import tempfile
from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.tables.contracts import DROPPED, ITEMS
from pipeline.tables.table_files import read_table
from tests.support.running import edit_params, run_stages


def run_rows(root: Path, path: str, **columns: str) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    """Ingest the tables and return the items, by file, and the dropped rows."""
    blocks = edit_params(ingest__sources=[{"kind": "rows", "path": str(root / path), "columns": columns}])
    blocks["crawl"]["start"] = []
    blocks["ingest"] |= {"page_text": None, "page_label": None}
    folder = Path(tempfile.mkdtemp(dir=root))
    run_stages(blocks, folder, until="ingest")
    items = sorted(read_table(folder / "data/2_ingested/items", ITEMS), key=lambda item: str(item["file"]))
    return items, read_table(folder / "data/2_ingested/dropped", DROPPED)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("q.csv", 'text,kind,group\n"What, then?",a,g1\n,b,g2\nWhy?,b,\n'),
        ("q.tsv", "text\tkind\tgroup\nWhat, then?\ta\tg1\n\tb\tg2\nWhy?\tb\t\n"),
        ("q.jsonl", "\n".join(map(json.dumps, [
            {"kind": "-"}, {"text": "What, then?", "kind": "a", "group": "g1"}, {"text": "", "kind": "b"},
            {"text": "Why?", "kind": "b"},
        ]))),
    ],
)  # fmt: skip
def test_a_row_is_a_text_with_its_annotations(name: str, content: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    items, dropped = run_rows(tmp_path, name, caption="text", label="kind")
    assert [(item["file"], item["modality"], item["label"], item["group"]) for item in items] == [
        ("q/000000002.txt", "text", "a", "g1"),
        ("q/000000004.txt", "text", "b", None),
    ]
    assert {row["reason"] for row in dropped} == {"empty"}


def test_rows_of_two_tables_in_another_encoding(tmp_path: Path) -> None:
    for split in ("train", "test"):
        (tmp_path / f"{split}.csv").write_bytes(
            f"caption\nWo ist das schöne {split} Café für müde Gäste?\n".encode("latin-1")
        )
    items, dropped = run_rows(tmp_path, "*.csv")
    assert [item["file"] for item in items] == ["test/000000002.txt", "train/000000002.txt"]
    assert dropped == []


def test_a_damaged_row_is_dropped_and_a_missing_column_stops(tmp_path: Path) -> None:
    (tmp_path / "q.csv").write_text("caption,label\nWhat?,a\nWhy?,b,c\n")
    items, dropped = run_rows(tmp_path, "q.csv")
    assert [item["label"] for item in items] == ["a"]
    assert [(row["reason"], row["key"]) for row in dropped] == [("unreadable", "folder:q.csv!q/000000003.txt#1")]
    with pytest.raises(InputError, match=r"q\.csv has no column 'texts'; it has caption, label"):
        run_rows(tmp_path, "q.csv", caption="texts")
    (tmp_path / "q.txt").write_text("caption\nWhat?\n")
    with pytest.raises(InputError, match=r"q\.txt is no table of kind rows: its name must end in \.csv"):
        run_rows(tmp_path, "q.txt")
