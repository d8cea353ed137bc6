"""Test that ingest gives the same however the files are cut into ranges, and on any number of workers."""

import hashlib
import itertools
import tarfile
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import MachineDrops
from pipeline.ingest import join_ranges, list_files
from pipeline.ingest.ingest_range import FileRange, ingest_range
from pipeline.ingest.sources.source import ReadInputs, SourceInputs
from pipeline.ingest.sources.table import SOURCES
from pipeline.inputs.cut_ranges import CUT, CUTS, cut_ranges
from pipeline.inputs.locate_inputs import locate_inputs
from pipeline.list.step import list_inputs
from pipeline.runtime.sandbox.heartbeat import UNTOUCHED
from pipeline.tables.blob_store import TarReader, TarWriter, copy_members, read_location
from pipeline.tables.columns import Row
from pipeline.tables.contracts import ITEMS
from pipeline.tables.database import open_database
from pipeline.tables.dropped_rows import DroppedRows
from pipeline.tables.item_names import escape_name, unescape_name
from pipeline.tables.table_files import count_rows, read_table
from tests.support.ingesting import (
    Ingest,
    Response,
    make_image,
    make_params,
    make_workspace,
    run_ingest,
    write_crawl,
    write_files,
)

PAGE = """<html><head><meta name=kind content=frog></head>
<body><a rel="license" href="https://example.org/{licence}">x</a><figcaption>a frog</figcaption></body></html>"""
URL = "http://a.test/frog{}.html"


def run_mixed(folder: Path, licences: list[str] | None = None, **run: Any) -> Ingest:
    """Run ingest on files and responses with repeated contents, pages that others refer to, and faults."""
    files: dict[str, bytes | str] = {f"{number % 3}/{number}.png": make_image(number % 5) for number in range(12)}
    files |= {f"{number}.txt": f"text {number % 4}\nde=Text {number % 4}\n" for number in range(8)}
    files |= {"empty.txt": "", "fake.png": "no image", "noise": b"\0\1"}
    write_files(folder / "inbox", files)
    responses = [Response(URL.format(licence), PAGE.format(licence=licence)) for licence in ("cc0", "other")]
    responses += [
        Response(f"http://a.test/{number}.png", make_image(number), URL.format("cc0" if number % 2 else "other"))
        for number in range(3, 9)
    ]
    return run_ingest(folder, make_params(text="tagged_lines", licences=licences), responses, **run)


def read_facts(result: Ingest) -> tuple[list[Row], list[object], list[object], object]:
    """Return all that may not depend on ranges: everything but the places of the contents."""
    rows = [{name: row[name] for name in row if name not in ("tar", "offset")} for row in result.rows]
    return rows, list(result.drops), list(result.parts), result.outcome


def check_contents(result: Ingest) -> None:
    """Check that each content is stored once, that it is the item's, and that the tars hold nothing else."""
    places = {(row["tar"], row["offset"]): row for row in result.rows}
    assert len(places) == len({row["sha256"] for row in result.rows})
    members = [name for path in result.folder.glob("*.tar") for name in list_members(path)]
    assert sorted(members) == sorted(row["sha256"] for (tar, _), row in places.items() if tar.startswith("2_"))
    with TarReader(result.data) as reader:
        for row in places.values():
            assert hashlib.sha256(reader.read(read_location(row))).hexdigest() == row["sha256"]


def list_members(path: Path) -> list[str]:
    with tarfile.open(path) as tar:
        return tar.getnames()


@pytest.mark.parametrize("licences", [None, ["https://example.org/cc0"], ["none"]])
def test_any_cut_into_ranges_gives_the_same_items(tmp_path: Path, licences: list[str] | None) -> None:
    results = []
    for files in (1, 3, 7, 10_000):
        with patch.object(list_files, "RANGE_FILES", files), patch.object(join_ranges, "SORTED_ROWS", files):
            results.append(run_mixed(tmp_path / str(files), licences))
        check_contents(results[-1])
    ids = [[row["id"] for row in read_table(result.folder / "items", ITEMS)] for result in results]
    assert all(each == sorted(ids[0]) for each in ids)
    assert all(read_facts(result) == read_facts(results[0]) for result in results[1:])
    assert bool(results[0].rows) == (licences != ["none"])


@pytest.mark.slow
def test_any_number_of_workers_gives_the_same_bytes(tmp_path: Path) -> None:
    with patch.object(list_files, "RANGE_FILES", 4):
        hashes = [
            run_mixed(tmp_path / f"{workers}", ["https://example.org/cc0"], workers=workers).hash_files()
            for workers in (0, 1, 2)
        ]
    assert any(name.endswith(".tar") for name in hashes[0])
    assert hashes[0] == hashes[1] == hashes[2]


@pytest.mark.slow
def test_a_file_that_kills_its_process_is_dropped(tmp_path: Path) -> None:
    root = write_files(tmp_path / "inbox", {f"{number}.txt": f"text {number}" for number in range(5)})
    with (root / "large").open("wb") as file:
        file.truncate(700 << 20)
    run: dict[str, Any] = {"workers": 1, "memory": "200 MiB"}
    result = run_ingest(tmp_path, make_params(), allow_machine_drops=True, **run)
    assert result.reasons == {"folder:large": "memory"}
    assert len(result.rows) == 5
    with pytest.raises(MachineDrops, match="1 memory"):
        run_ingest(tmp_path, make_params(), **run)


def test_a_later_try_leaves_nothing_of_an_earlier_one(tmp_path: Path) -> None:
    """A task runs again, with other lost files, when an item killed its process."""
    write_files(tmp_path / "inbox", {"a.txt": "a", "b.txt": "b"})
    workspace, params = make_workspace(tmp_path), make_params(root=str(tmp_path / "inbox"))
    write_crawl(tmp_path, [])
    list_inputs(params, workspace)
    with open_database(tmp_path, workspace.run) as database:
        dropped = DroppedRows(database, "ingest", "file")
        listing, _ = list_files.list_files(SOURCES, SourceInputs(params, workspace), database, dropped)
    (tmp_path / "ranges").mkdir()
    inputs = ReadInputs(tmp_path, locate_inputs(params), tmp_path / "spool")
    task = FileRange(listing.path, tmp_path / "ranges", inputs, params, files=2)
    names = []
    for lost in ([0, 1], [1], []):
        ingest_range(task.lose_items(dict.fromkeys(lost, UNTOUCHED)))
        names.append(sorted(path.name for path in task.folder.iterdir()))
    assert names == [
        ["items-000000.rejected.arrow"],
        ["items-000000.found.arrow", "items-000000.rejected.arrow", "items-000000.tar"],
        ["items-000000.found.arrow", "items-000000.tar"],
    ]


@given(
    sizes=st.lists(st.integers(0, 50), min_size=1, max_size=60),
    chunk=st.integers(1, 20),
    files=st.integers(1, 9),
    limit=st.integers(1, 120),
)
def test_ranges_hold_as_many_files_as_fit(sizes: list[int], chunk: int, files: int, limit: int) -> None:
    def read() -> Iterator[pa.RecordBatch]:
        for start in range(0, len(sizes), chunk):
            yield pa.RecordBatch.from_pydict({"size": sizes[start : start + chunk]})

    ranges = [batch["size"].to_pylist() for batch in cut_ranges(read(), files, limit)]
    assert [size for each in ranges for size in each] == sizes
    for each, after in zip(ranges, [*ranges[1:], []], strict=True):
        assert 1 <= len(each) <= files
        assert sum(each) <= limit or len(each) == 1
        assert not after or len(each) == files or sum(each) + after[0] > limit


@given(
    listed=st.lists(st.tuples(st.integers(0, 50), st.integers(0, 2**32 - 1)), min_size=1, max_size=60),
    chunk=st.integers(1, 20),
    files=st.integers(1, 9),
    limit=st.integers(1, 120),
)
def test_ranges_end_at_certain_names_or_when_full(
    listed: list[tuple[int, int]], chunk: int, files: int, limit: int
) -> None:
    """A new file leaves the ranges before it as they were, and those behind the next certain name."""

    def cut(listed: list[tuple[int, int]]) -> list[list[tuple[int, int]]]:
        def read() -> Iterator[pa.RecordBatch]:
            for start in range(0, len(listed), chunk):
                sizes, names = zip(*listed[start : start + chunk], strict=True)
                rows = {"size": pa.array(sizes), "name": pa.array(names), CUT: pa.array(names, pa.uint32())}
                yield pa.RecordBatch.from_pydict(rows)

        ranges = (batch.to_pydict() for batch in cut_ranges(read(), files, limit))
        return [list(zip(each["size"], each["name"], strict=True)) for each in ranges]

    place = len(listed) // 2
    ranges, without = cut(listed), cut(listed[:place] + listed[place + 1 :])
    is_end = [name < 2**32 * CUTS * max(1 / files, size / limit) for size, name in listed]
    assert list(itertools.chain(*ranges)) == listed
    bounds = [0, *itertools.accumulate(map(len, ranges))]
    for each, start, stop in zip(ranges, bounds[:-1], bounds[1:], strict=True):
        taken = sum(size for size, _ in each)
        assert 1 <= len(each) <= files
        assert taken <= limit or len(each) == 1
        assert not any(is_end[start : stop - 1]), "no range goes on behind such a name"
        assert stop == len(listed) or is_end[stop - 1] or len(each) == files or taken + listed[stop][0] > limit
    before = sum(bound < place for bound in bounds[1:])
    assert without[:before] == ranges[:before]
    settled = next((bound for bound in bounds[1:] if bound > place + 1 and is_end[bound - 1]), len(listed))
    kept = len(ranges) - bounds.index(settled)
    assert without[len(without) - kept :] == ranges[len(ranges) - kept :]


@settings(max_examples=30)
@given(contents=st.lists(st.binary(max_size=1500), min_size=1, max_size=12), data=st.data())
def test_members_are_copied(contents: list[bytes], data: st.DataObject) -> None:
    chosen = data.draw(st.lists(st.sampled_from(range(len(contents))), min_size=1, unique=True).map(sorted))
    with TemporaryDirectory() as folder:
        with TarWriter(Path(folder) / "all.tar") as tar:
            offsets = [tar.write(str(number), content) for number, content in enumerate(contents)]
        members = np.array([(offsets[number], len(contents[number])) for number in chosen])
        copy_members(Path(folder) / "all.tar", Path(folder) / "some.tar", members)
        with TarWriter(Path(folder) / "alone.tar") as tar:
            for number in chosen:
                tar.write(str(number), contents[number])
        assert (Path(folder) / "some.tar").read_bytes() == (Path(folder) / "alone.tar").read_bytes()


def test_a_tar_without_members_is_not_created(tmp_path: Path) -> None:
    with TarWriter(tmp_path / "none.tar"):
        pass
    assert list(tmp_path.iterdir()) == []


@given(name=st.binary(max_size=12))
def test_escaped_names_are_read_back(name: bytes) -> None:
    assert unescape_name(escape_name(name)) == name


def test_repeated_contents_of_many_files_are_stored_once(tmp_path: Path) -> None:
    write_files(tmp_path / "inbox", {f"{number}.txt": "the same" for number in range(30)})
    with patch.object(list_files, "RANGE_FILES", 7):
        result = run_ingest(tmp_path, make_params())
    assert count_rows(result.folder / "items") == 30
    assert [path.name for path in result.folder.glob("*.tar")] == ["items-000000.tar"]
    assert {(row["tar"], row["offset"]) for row in result.rows} == {("2_ingested/items-000000.tar", 512)}
