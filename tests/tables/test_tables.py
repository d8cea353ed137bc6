"""Counts add up; damaged tables are refused; SQL writes the same bytes; blobs are read back from their locations."""

import contextlib
import hashlib
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config.params import RunParams
from pipeline.errors import CountMismatch, InputError, PipelineError, TooManyDrops
from pipeline.tables import table_files
from pipeline.tables.blob_store import TarReader, TarStore
from pipeline.tables.columns import Columns, Row, number_distinct
from pipeline.tables.contracts import DROPPED
from pipeline.tables.database import Database, open_database
from pipeline.tables.dropped_rows import DroppedRows
from pipeline.tables.drops import Drop, DropCounts, Outcome, Reason, check_drop_share
from pipeline.tables.table_files import (
    GROUP_ROWS,
    check_reference,
    count_rows,
    identify_table,
    read_table,
    write_batches,
    write_table,
)

COLUMNS: Columns = {
    "key": "string",
    "count": "int64",
    "share": "float64?",
    "ok": "bool",
    "number": "uint64",
    "hash": "hash",
    "other": "hash?",
}


def make_rows(n: int) -> list[Row]:
    return [
        {
            "key": f"k{i}",
            "count": i,
            "share": None if i % 3 else i / 7,
            "ok": i % 2 == 0,
            "number": 2**64 - 1 - i,
            "hash": hashlib.sha256(b"%d" % i).hexdigest(),
            "other": None if i % 4 else f"{i:064x}",
        }
        for i in range(n)
    ]


@given(rows=st.lists(st.tuples(*[st.sampled_from(["a", "b", "", None])] * 3)))
def test_rows_are_numbered_by_their_values(rows: list[tuple[str | None, ...]]) -> None:
    columns = {name: pa.array([row[at] for row in rows], pa.string()) for at, name in enumerate("xyz")}
    for names in ("x", "zx", "xyz"):
        found, which = number_distinct(pa.RecordBatch.from_pydict(columns), list(names))
        assert len(found) == len(set(found))
        assert [found[number] for number in which] == [tuple(row["xyz".index(name)] for name in names) for row in rows]


def hash_table(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of 20 rows in groups of 5."""
    monkeypatch.setattr(table_files, "PART_ROWS", 20)
    monkeypatch.setattr(table_files, "GROUP_ROWS", 5)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with open_database(tmp_path / "work", RunParams()) as opened:
        yield opened


@given(st.integers(0, 50), st.integers(0, 50), st.integers(-2, 2))
def test_counts_must_add_up(kept: int, dropped: int, off_by: int) -> None:
    counts = DropCounts({Reason.FLAT: dropped // 2, Reason.BROKEN: dropped - dropped // 2}, parts=7)
    outcome = Outcome("item", kept + dropped + off_by, kept, counts)
    if off_by == 0:
        outcome.check()
    else:
        with pytest.raises(CountMismatch, match=str(kept + dropped + off_by)):
            outcome.check()


def test_too_many_drops_name_reasons_and_setting() -> None:
    outcome = Outcome("item", 10, 4, DropCounts({Reason.BROKEN: 1, Reason.FLAT: 5}))
    check_drop_share(outcome, 0.6, "clean.max_dropped")
    with pytest.raises(
        TooManyDrops, match=r"clean\.max_dropped is 0\.5, but 6 of 10 items \(60%\).*: 5 flat, 1 broken"
    ):
        check_drop_share(outcome, 0.5, "clean.max_dropped")


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("count", [0, 1, 5, 20, 21, 47])
def test_a_table_is_read_as_written_and_its_bytes_repeat(count: int, tmp_path: Path) -> None:
    rows = make_rows(count)
    for name in ("a", "b"):
        write_table(tmp_path / name, rows, COLUMNS)
    assert read_table(tmp_path / "a", COLUMNS) == rows
    assert hash_table(tmp_path / "a") == hash_table(tmp_path / "b")
    assert len(hash_table(tmp_path / "a")) == max(1, -(-count // 20)) + 1
    assert count_rows(tmp_path / "a") == count


@pytest.mark.usefixtures("small_parts")
@given(cuts=st.lists(st.integers(1, 30), max_size=6))
def test_the_size_of_batches_changes_no_byte(cuts: list[int], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder, rows, start = tmp_path_factory.mktemp("t"), make_rows(53), 0
    columns: Columns = {"key": "string", "share": "float64?"}
    batches = []
    for stop in [*np.cumsum(cuts).tolist(), len(rows)]:
        part = rows[start:stop]
        batches.append({name: [row[name] for row in part] for name in columns})
        start = max(start, stop)
    write_batches(folder / "batches", batches, columns)
    write_table(folder / "rows", ({name: row[name] for name in columns} for row in rows), columns)
    assert hash_table(folder / "batches") == hash_table(folder / "rows")


def test_columns_that_are_not_the_tables_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a batch does not have the table's columns; they differ in \['b'\]"):
        write_batches(tmp_path / "t", [{"a": [1], "b": [2]}], {"a": "int64"})
    with pytest.raises(ValueError, match="column 'a' may not be null"):
        write_batches(tmp_path / "t", [{"a": [1, None]}], {"a": "int64"})


@pytest.mark.parametrize("name", ["part-000000.parquet", "_table.json"])
def test_a_damaged_table_is_refused(name: str, tmp_path: Path) -> None:
    rows, rng = make_rows(2000), random.Random(0)
    write_table(tmp_path, rows, COLUMNS)
    path = tmp_path / name
    whole = path.read_bytes()
    for _ in range(200):
        damaged = bytearray(whole)
        damaged[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        with contextlib.suppress(InputError):
            assert read_table(tmp_path, COLUMNS) == rows  # a bit without meaning, such as that of a space


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("number", range(3))
def test_a_part_that_is_missing_is_noticed(number: int, tmp_path: Path) -> None:
    write_table(tmp_path / "t", make_rows(47), COLUMNS)
    (tmp_path / f"t/part-{number:06d}.parquet").unlink()
    with pytest.raises(InputError, match=rf"part-{number:06d}\.parquet is missing"):
        read_table(tmp_path / "t", COLUMNS)
    write_table(tmp_path / "more", make_rows(3), COLUMNS)
    (tmp_path / "more/part-000001.parquet").write_bytes(b"")
    with pytest.raises(InputError, match=r"has parts that _table\.json does not list"):
        read_table(tmp_path / "more", COLUMNS)
    with pytest.raises(InputError, match="is missing: run the stage"):
        read_table(tmp_path / "none", COLUMNS)


def test_a_table_of_other_columns_is_refused(tmp_path: Path) -> None:
    write_table(tmp_path / "t", make_rows(3), COLUMNS)
    with pytest.raises(InputError, match="other columns"):
        read_table(tmp_path / "t", {"key": "string"})
    with pytest.raises(ValueError, match="differ in"):
        write_table(tmp_path / "t", [{"key": "k"}], COLUMNS)
    with pytest.raises(ValueError, match="'key' may not be null"):
        write_table(tmp_path / "t", [make_rows(1)[0] | {"key": None}], COLUMNS)


def test_row_numbers_are_those_of_one_version_of_a_table(tmp_path: Path) -> None:
    columns: Columns = {"number": "uint64"}
    write_table(tmp_path / "items", make_rows(30), COLUMNS)
    refers = {"items": identify_table(tmp_path / "items")}
    write_table(tmp_path / "samples", [{"number": 3}], columns, refers)
    check_reference(tmp_path / "samples", "items", tmp_path / "items")
    changed = make_rows(30)
    changed[7]["hash"] = "0" * 64
    write_table(tmp_path / "items", changed, COLUMNS)
    with pytest.raises(InputError, match="changed since"):
        check_reference(tmp_path / "samples", "items", tmp_path / "items")


def test_dropped_rows_are_sorted_whatever_their_order(database: Database, tmp_path: Path) -> None:
    dropped = DroppedRows(database, "clean", "item")
    dropped.add(Drop(key, Reason.TRUNCATED, "ends early", "10", "20") for key in "ca")
    dropped.add_parts([Drop("c", Reason.PART_NOT_SELECTED, "", count=3)])
    dropped.add_query("SELECT 'b' AS key, 'flat' AS reason, 'one level' AS detail, 'clean.image.x' AS setting")
    assert dropped.write(tmp_path) == DropCounts({Reason.FLAT: 1, Reason.TRUNCATED: 2}, parts=1)
    rows = read_table(tmp_path / "dropped", DROPPED)
    assert [(row["unit"], row["key"], row["count"], row["setting"]) for row in rows] == [
        ("item", "a", 1, ""), ("item", "b", 1, "clean.image.x"), ("item", "c", 1, ""), ("part", "c", 3, ""),
    ]  # fmt: skip


def test_nothing_is_dropped_twice(database: Database, tmp_path: Path) -> None:
    dropped = DroppedRows(database, "clean", "item")
    dropped.add([Drop("a", Reason.FLAT, ""), Drop("b", Reason.FLAT, ""), Drop("a", Reason.BROKEN, "")])
    with pytest.raises(CountMismatch, match="item 'a' was dropped 2 times"):
        dropped.write(tmp_path)


@pytest.mark.parametrize(("workers", "memory"), [(1, "1 GB"), (2, "1 GB"), (2, "64 MB")])
def test_a_result_has_the_same_bytes_on_any_threads_and_memory(workers: int, memory: str, tmp_path: Path) -> None:
    write_table(tmp_path / "t", make_rows(100), COLUMNS)
    query = """
        SELECT key || i AS key, "count" * i AS "count", share, ok, number, unhex(sha256(key || '/' || i)) AS hash, other
        FROM t, range(3000) r(i) ORDER BY hash
    """
    run = RunParams(workers=workers, table_memory=memory)
    with open_database(tmp_path / "work", run) as database:
        database.load("t", tmp_path / "t", COLUMNS)
        database.execute(f"CREATE TABLE u AS {query}")
        database.write(query, tmp_path / "result", COLUMNS)
        assert database.fetch("SELECT count(*), count(DISTINCT hash) FROM u") == [(300_000, 300_000)]
    digest = hashlib.sha256("".join(hash_table(tmp_path / "result").values()).encode()).hexdigest()
    seen = DIGESTS.setdefault("", digest)
    assert seen == digest
    assert not (tmp_path / "work/tables").exists()


DIGESTS: dict[str, str] = {}
"""Of the result of the test above, which is the same for all its parameters."""


def test_too_little_memory_is_named(tmp_path: Path) -> None:
    with (
        open_database(tmp_path, RunParams(table_memory="1 MB")) as database,
        pytest.raises(PipelineError, match=r"run\.table_memory"),
    ):
        database.execute("CREATE TABLE t AS SELECT unhex(sha256(i::VARCHAR)) AS h FROM range(1000000) r(i) ORDER BY h")


def test_a_load_has_the_numbers_of_rows_and_those_that_are_asked_for(database: Database, tmp_path: Path) -> None:
    rows = make_rows(GROUP_ROWS // 10)
    write_table(tmp_path / "t", rows, COLUMNS)
    database.execute("CREATE TABLE chosen AS SELECT i::UBIGINT AS number FROM range(0, 5000, 7) r(i)")
    database.load("t", tmp_path / "t", COLUMNS, ["key", "hash"], number="number", only="chosen")
    found = database.fetch("SELECT number, key, hash FROM t ORDER BY number")
    assert found == [(at, rows[at]["key"], bytes.fromhex(rows[at]["hash"])) for at in range(0, 5000, 7)]


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
