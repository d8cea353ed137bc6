"""Counts add up; damaged tables are refused; blobs are read back from their locations."""

import contextlib
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import CountMismatch, InputError, TooManyDrops
from pipeline.tables.blob_store import TarReader, TarStore
from pipeline.tables.columns import Columns
from pipeline.tables.dropped_rows import DROPPED
from pipeline.tables.drops import Drop, Outcome, Reason, Rejection, check_drop_share
from pipeline.tables.table_files import GROUP_ROWS, read_table, write_batches, write_dropped, write_table

COLUMNS: Columns = {"key": "string", "count": "int64", "share": "float64?", "ok": "bool"}


def make_rows(n: int) -> list[dict[str, object]]:
    return [{"key": f"k{i}", "count": i, "share": None if i % 3 else i / 7, "ok": i % 2 == 0} for i in range(n)]


@given(st.integers(0, 50), st.integers(0, 50), st.integers(-2, 2))
def test_counts_must_add_up(kept: int, dropped: int, off_by: int) -> None:
    drops = [Drop(f"d{i}", Reason.FLAT, "one grey level") for i in range(dropped)]
    outcome = Outcome("item", kept + dropped + off_by, kept, drops)
    if off_by == 0:
        outcome.check()
    else:
        with pytest.raises(CountMismatch, match=str(kept + dropped + off_by)):
            outcome.check()


def test_nothing_is_dropped_twice() -> None:
    drops = [Drop("a", Reason.FLAT, ""), Drop("a", Reason.BROKEN, "")]
    with pytest.raises(CountMismatch, match="'a' was dropped 2 times"):
        Outcome("item", 2, 0, drops).check()


def test_too_many_drops_name_reasons_and_setting() -> None:
    drops = [Rejection(Reason.FLAT, "one grey level").drop(str(i)) for i in range(6)]
    outcome = Outcome("item", 10, 4, drops)
    check_drop_share(outcome, 0.6, "clean.max_dropped")
    with pytest.raises(TooManyDrops, match=r"clean\.max_dropped is 0\.5, but 6 of 10 items \(60%\).*: 6 flat"):
        check_drop_share(outcome, 0.5, "clean.max_dropped")


def test_a_table_is_read_as_written_and_its_bytes_repeat(tmp_path: Path) -> None:
    rows = make_rows(100)
    for name in ("a", "b"):
        write_table(tmp_path / name, rows, COLUMNS)
    assert read_table(tmp_path / "a", COLUMNS) == rows
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    write_table(tmp_path / "none", [], COLUMNS)
    assert read_table(tmp_path / "none", COLUMNS) == []


def test_columns_make_the_bytes_that_rows_make(tmp_path: Path) -> None:
    columns: Columns = {"name": "string", "score": "float64", "count": "int64?"}
    rows = [{"name": f"n{n % 7}", "score": n / 3, "count": None if n % 5 else n} for n in range(GROUP_ROWS + 10)]
    write_table(tmp_path / "rows.parquet", rows, columns)
    groups = (rows[:GROUP_ROWS], rows[GROUP_ROWS:])
    batches = [
        {
            "name": np.array([row["name"] for row in group], object),
            "score": np.array([row["score"] for row in group]),
            "count": [row["count"] for row in group],
        }
        for group in groups
    ]
    write_batches(tmp_path / "columns.parquet", batches, columns)
    assert (tmp_path / "columns.parquet").read_bytes() == (tmp_path / "rows.parquet").read_bytes()


def test_columns_that_are_not_the_tables_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a batch does not have the table's columns; they differ in \['b'\]"):
        write_batches(tmp_path / "t.parquet", [{"a": [1], "b": [2]}], {"a": "int64"})
    with pytest.raises(ValueError, match="column 'a' may not be null"):
        write_batches(tmp_path / "t.parquet", [{"a": [1, None]}], {"a": "int64"})


def test_a_damaged_table_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    rows = make_rows(2000)
    write_table(path, rows, COLUMNS)
    whole = path.read_bytes()
    rng = random.Random(0)
    for _ in range(200):
        damaged = bytearray(whole)
        damaged[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        with contextlib.suppress(InputError):
            assert read_table(path, COLUMNS) == rows  # a bit without meaning: statistics, padding


def test_a_table_of_other_columns_is_refused(tmp_path: Path) -> None:
    write_table(tmp_path / "t", make_rows(3), COLUMNS)
    with pytest.raises(InputError, match="other columns"):
        read_table(tmp_path / "t", {"key": "string"})
    with pytest.raises(ValueError, match="differ in"):
        write_table(tmp_path / "t", [{"key": "k"}], COLUMNS)
    with pytest.raises(ValueError, match="may not be null"):
        write_table(tmp_path / "t", [{"key": None, "count": 1, "share": None, "ok": True}], COLUMNS)


def test_dropped_rows_are_sorted_whatever_their_order(tmp_path: Path) -> None:
    drops = [Drop(key, Reason.TRUNCATED, "ends early", "10", "20") for key in "cab"]
    write_dropped(tmp_path / "d", "clean", "item", drops, [Drop("c", Reason.PART_NOT_SELECTED, "", count=3)])
    rows = read_table(tmp_path / "d", DROPPED)
    assert [(row["unit"], row["key"], row["count"]) for row in rows] == [
        ("item", "a", 1), ("item", "b", 1), ("item", "c", 1), ("part", "c", 3),
    ]  # fmt: skip


@given(st.lists(st.binary(max_size=2000), max_size=20))
def test_blobs_are_read_back_from_their_locations(
    tmp_path_factory: pytest.TempPathFactory, contents: list[bytes]
) -> None:
    data = tmp_path_factory.mktemp("data")
    with TarStore(data / "2_ingested", "2_ingested", "items") as store:
        locations = [store.write(f"{number}.bin", content) for number, content in enumerate(contents)]
    with TarReader(data) as reader:
        assert [reader.read(location) for location in locations] == contents


def test_a_truncated_tar_is_an_error(tmp_path: Path) -> None:
    with TarStore(tmp_path / "s", "s", "items") as store:
        location = store.write("a", b"x" * 1000)
    path = tmp_path / "s/items-000000.tar"
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(InputError, match="is truncated"), TarReader(tmp_path) as reader:
        reader.read(location)
