"""Searching a table finds what reading it whole finds, and reads only the row groups that may have it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import InputError
from pipeline.lineage import scan
from pipeline.lineage.scan import NUMBER, TableSearch
from pipeline.lineage.stage_tables import StageTables
from pipeline.tables import table_files
from pipeline.tables.columns import Columns, Row
from tests.support.stage_tables import AlignedSample, hash_text, make_item, write_items, write_samples

COLUMNS: Columns = {"id": "hash", "name": "string?", "count": "uint64", "other": "hash?", "far": "int64?"}
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "id": st.integers(0, 60).map(lambda n: hash_text(str(n))),
    "name": st.text("ab", max_size=3),
    "count": st.integers(0, 80),
    "other": st.integers(0, 3).map(lambda n: hash_text(str(n))),
    "far": st.integers(-3, 3),
}


def make_rows(count: int) -> list[Row]:
    rows = [
        {
            "id": hash_text(str(number)),
            "name": None if number % 5 == 0 else "ab"[: number % 3] * (number % 4),
            "count": number * 2,
            "other": hash_text(str(number % 4)) if number % 3 else None,
            "far": None if number < 12 else number % 7 - 3,
        }
        for number in range(count)
    ]
    return sorted(rows, key=lambda row: str(row["id"]))


@pytest.fixture(scope="module", autouse=True)
def _small_groups() -> Iterator[None]:
    """Tables of a few rows have several parts and row groups."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table_files, "GROUP_ROWS", 4)
        patch.setattr(table_files, "PART_ROWS", 12)
        patch.setattr(table_files, "BATCH_ROWS", 3)
        yield


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> TableSearch:
    folder = tmp_path_factory.mktemp("table")
    table_files.write_table(folder, make_rows(50), COLUMNS)
    return TableSearch(folder, COLUMNS)


@given(data=st.data(), column=st.sampled_from(list(COLUMNS)))
def test_a_search_finds_what_reading_the_table_finds(table: TableSearch, data: st.DataObject, column: str) -> None:
    values: list[str | int] = data.draw(st.lists(VALUES[column], min_size=1, max_size=6))
    rows = make_rows(50)
    expected = [number for number, row in enumerate(rows) if row[column] in values]
    found = table.find(column, values)
    assert found[NUMBER].to_pylist() == expected
    assert table.select(np.array(expected, np.int64)) == {number: rows[number] for number in expected}


@given(numbers=st.lists(st.integers(0, 49), max_size=12), names=st.sets(st.sampled_from(list(COLUMNS)), min_size=1))
def test_rows_are_selected_by_number(table: TableSearch, numbers: list[int], names: set[str]) -> None:
    rows = make_rows(50)
    found = table.select(np.array(numbers, np.int64), sorted(names))
    assert found == {number: {name: rows[number][name] for name in names} for number in sorted(set(numbers))}


def test_a_mask_is_applied_to_all_rows(table: TableSearch) -> None:
    import pyarrow.compute as pc

    found = table.search("name", lambda names: pc.ends_with(names, pattern="b"))
    rows = make_rows(50)
    assert found[NUMBER].to_pylist() == [n for n, row in enumerate(rows) if (row["name"] or "").endswith("b")]
    assert found["name"].to_pylist() == [rows[number]["name"] for number in found[NUMBER].to_pylist()]


def count_groups(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The row groups that are read from now on, as a list that grows."""
    read: list[int] = []

    def read_part(path: Path, names: Any, groups: list[int]) -> Any:
        read.extend(groups)
        return table_files.read_part(path, names, groups)

    monkeypatch.setattr(scan, "read_part", read_part)
    return read


def test_a_sorted_column_needs_one_row_group(table: TableSearch, monkeypatch: pytest.MonkeyPatch) -> None:
    read = count_groups(monkeypatch)
    for row in make_rows(50):
        assert table.find("id", [row["id"]]).num_rows == 1
    assert len(read) == 50
    assert table.find("id", ["0" * 64]).num_rows == table.find("far", [9]).num_rows == 0
    assert len(read) == 50


def test_every_sample_is_found_in_few_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    items = write_items(tmp_path, [make_item("a")])
    splits = ("train", "train", "train", "val", "test")
    samples = [AlignedSample(f"key-{number}", {"text": ["a"]}, splits[number % 5]) for number in range(60)]
    write_samples(tmp_path, items, samples)
    read, tables = count_groups(monkeypatch), StageTables(tmp_path)
    for sample in samples:
        found = tables.find_sample(sample.key)
        assert found
        assert (found[1]["key"], found[1]["split"]) == (sample.key, sample.split)
    assert len(read) < 4 * len(samples)
    assert tables.find_sample("key-60") is None


def test_damage_is_an_error(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    table_files.write_table(tmp_path, make_rows(50), COLUMNS)
    opened = TableSearch(tmp_path, COLUMNS)
    path = tmp_path / "part-000001.parquet"
    whole = bytearray(path.read_bytes())
    column = pq.read_metadata(path).row_group(1).column(1)
    whole[column.data_page_offset + column.total_compressed_size // 2] ^= 1
    path.write_bytes(whole)
    with pytest.raises(InputError, match=r"part-000001\.parquet is damaged"):
        opened.find("name", ["a", "b", "ab", ""])
    path.unlink()
    with pytest.raises(InputError, match="is missing"):
        TableSearch(tmp_path, COLUMNS)
