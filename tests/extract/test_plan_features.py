"""Plan of features and tasks in SQL: every missing feature once, keys and names that follow from all that decides."""

import itertools
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from pipeline.extract import compute_features, item_rows
from pipeline.extract.cached_shards import name_shard
from pipeline.extract.compute_features import FeatureTask, count_missing, plan_chunks, plan_missing
from pipeline.extract.extractor import ExtractFolders
from pipeline.extract.feature_entry import compute_entry, decode_parsed
from pipeline.extract.field_statistics import measure, sum_records
from pipeline.extract.item_rows import write_item_rows
from pipeline.extract.make_shard import make_shard
from pipeline.extract.params import ExtractParams
from pipeline.extract.plan_corpus import Corpus, plan_corpus
from pipeline.incremental.key_words import KEY, join_words
from pipeline.incremental.lookup import EntryLookup
from pipeline.incremental.pack_index import DamagedError
from pipeline.incremental.rejections import decode_rejection
from pipeline.modalities.modality import MediaItem
from pipeline.modalities.table import MODALITIES
from pipeline.tables.contracts import CLEANED, CLEANED_ITEMS, INGESTED_ITEMS, ITEMS, SHARDS_FOLDER
from pipeline.tables.database import Database, open_database
from pipeline.tables.drops import Reason, Rejection
from pipeline.tables.row_files import RowFile, open_row_file
from pipeline.tables.table_files import identify_table, read_batches, read_table, write_table
from shardwright.format.jpeg import decode_jpeg
from tests.support.factory_extract import (
    MEDIA_TYPES,
    USUAL,
    Thing,
    draw_item,
    extract_things,
    make_params,
    make_run,
    make_things,
    plan_tasks,
    run_extract,
    write_corpus,
)
from tests.support.running import hash_files

if TYPE_CHECKING:
    import pyarrow as pa

pytestmark = pytest.mark.slow


@contextmanager
def plan(folder: Path, things: Sequence[Thing], params: ExtractParams) -> Iterator[tuple[Database, Corpus]]:
    """The plan of a corpus, in place of the one that was there, with an empty cache."""
    shutil.rmtree(folder, ignore_errors=True)
    write_corpus(folder / "data", things)
    with open_database(folder, make_run(folder)) as database:
        folders = ExtractFolders(folder / "data", folder, folder)
        corpus = plan_corpus(database, folders, params)
        EntryLookup(database, folders.objects).search("sample, part")
        yield database, corpus


def fetch_keys(database: Database, sql: str) -> list[dict[str, Any]]:
    """The rows of a query, with the cache key in place of its words."""
    rows: list[dict[str, Any]] = join_words(database.take(sql)).to_pylist()
    return rows


# The cache keys of features


def test_a_feature_is_that_of_bytes_type_orientation_and_span(tmp_path: Path) -> None:
    """Two parts have one feature if all of these are equal, and only then; nothing else decides."""
    contents = [draw_item("one", "audio"), draw_item("two", "audio")]
    columns: list[dict[str, Any]] = [{}, {"media_type": "audio/flac"}, {"orientation": 6}, {"licence": "MIT"}]
    third = 1 / 3
    edges = [(None, None), (None, third), (third, None), (0.0, third), (0.0, float(np.nextafter(third, 1)))]
    things = [
        Thing(f"{n}-{copy}", ("train", "val")[copy], None, ("audio",), {"audio": content}, more, {"audio": span})
        for n, (content, more, span) in enumerate(itertools.product(contents, columns, edges))
        for copy in range(2)
    ]
    with plan(tmp_path, things, make_params(shards=1)) as (database, _):
        rows = fetch_keys(database, f"SELECT usable.key AS name, {KEY} FROM located JOIN usable USING (sample)")
    keys = {row["name"]: row["key"] for row in rows}
    assert len(rows) == len(keys) == len(things)
    decides: dict[bytes, set[tuple[Any, ...]]] = {}
    for thing in things:
        more = dict(thing.columns) | {"licence": None}
        found = (thing.contents["audio"], str(sorted(more.items(), key=str)), thing.spans["audio"])
        decides.setdefault(keys[thing.key], set()).add(found)
    assert all(len(each) == 1 for each in decides.values())
    assert len(decides) == 2 * 3 * 5, "a licence does not decide"


def test_params_of_one_modality_change_its_keys_alone(tmp_path: Path) -> None:
    keys = {}
    for name, changes in {"plain": {}, "audio": {"audio__hop": 64}, "late": {"text__vocabulary": 3}}.items():
        with plan(tmp_path, make_things(4), make_params(shards=1, **changes)) as (database, _):
            rows = fetch_keys(database, f"SELECT modality, {KEY} FROM located")
        keys[name] = {modality: {row["key"] for row in rows if row["modality"] == modality} for modality in USUAL}
    assert keys["late"] == keys["plain"], "a text is parsed whatever is learned of it"
    assert [name for name in USUAL if keys["audio"][name] != keys["plain"][name]] == ["audio"]
    assert not keys["audio"]["audio"] & keys["plain"]["audio"]


# Tasks for what is missing


THINGS = [
    *make_things(40),
    *(Thing(f"shared-{number}", contents={"image": draw_item("one", "image")}) for number in range(3)),
]


@pytest.mark.parametrize("inline", [False, True])
def test_every_missing_feature_is_in_one_chunk_or_inline(
    inline: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compute_features, "MIN_SHARDS", 8 if inline else 1000)
    with plan(tmp_path, THINGS, make_params(shards=8)) as (database, corpus):
        plan_missing(database, corpus.shards)
        assert count_missing(database) == {"audio": 43, "image": 41, "text": 43}
        folders = ExtractFolders(tmp_path / "data", tmp_path, tmp_path)
        chunks = list(plan_chunks(database, corpus.extractors, "text", folders))
        rows = fetch_keys(database, f"SELECT modality, sample, item, {KEY} FROM located ORDER BY sample, part")
        requests = [(row["key"], row["modality"], row["sample"], row["item"]) for row in rows]
        with_shards = {row["key"] for row in fetch_keys(database, f"SELECT {KEY} FROM missing WHERE inline")}
    keys = [key for chunk in chunks for key in chunk.rows["key"].to_pylist()]
    assert len(keys) == len(set(keys))
    assert set(keys) | with_shards == {key for key, *_ in requests}
    assert not set(keys) & with_shards
    uses = [key for key, *_ in requests]
    single = {key for key, modality, *_ in requests if uses.count(key) == 1 and modality != "text"}
    assert with_shards == (single if inline else set())
    first = {key: (item, modality) for key, modality, _, item in reversed(requests)}
    for chunk in chunks:
        rows = chunk.rows.to_pylist()
        found = [first[row["key"]] for row in rows]
        assert {modality for _, modality in found} == {chunk.extractor.modality}
        assert chunk.count_items() == len(rows)
    modalities = [chunk.extractor.modality for chunk in chunks]
    starts = list(dict.fromkeys(modalities))
    assert modalities[: len(starts)] == starts, "what a modality lacks shows early"
    assert starts[0] == modalities[len(starts)] == "text", "all else waits for what is learned"


@pytest.mark.parametrize(("limit", "expected"), [(2048, 1), (3, 0)])
def test_a_shard_with_too_many_features_has_none_inline(
    limit: int, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compute_features, "MIN_SHARDS", 4)
    monkeypatch.setattr(compute_features, "MAX_FEATURES", limit)
    with plan(tmp_path, make_things(40), make_params(shards=4)) as (database, corpus):
        plan_missing(database, corpus.shards)
        assert bool(database.fetch("SELECT count(*) FROM missing WHERE inline")[0][0]) == expected


# Rows of items


def cut(batches: "Iterator[pa.RecordBatch]", size: int) -> "Iterator[pa.RecordBatch]":
    for batch in batches:
        yield from (batch.slice(start, size) for start in range(0, batch.num_rows, size))


@pytest.mark.parametrize("kept", [range(0), range(1), range(50), range(49, 50), range(1, 50, 7), [0, 1, 2, 30, 31, 49]])
def test_rows_of_items_are_those_of_both_tables(
    kept: Sequence[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However the tables are cut into batches: items that clean dropped lie anywhere between."""
    write_corpus(tmp_path, [Thing(f"thing-{number:02d}", modalities=("image",)) for number in range(50)])
    ingested, known = (
        list(read_table(tmp_path / folder, columns))
        for folder, columns in ((INGESTED_ITEMS, ITEMS), (CLEANED_ITEMS, CLEANED))
    )
    refers = {INGESTED_ITEMS: identify_table(tmp_path / INGESTED_ITEMS)}
    shutil.rmtree(tmp_path / CLEANED_ITEMS)
    write_table(tmp_path / CLEANED_ITEMS, [known[number] for number in kept], CLEANED, refers)
    for size in (3, 7, 1000):
        monkeypatch.setattr(item_rows, "read_batches", lambda *given, size=size: cut(read_batches(*given), size))
        write_item_rows(tmp_path, tmp_path / f"{size}.arrow", lambda batch: None)
        found = RowFile(tmp_path / f"{size}.arrow").read(range(50))
        assert [row["file"] for row in found] == [row["file"] for row in ingested]
        for number, row in enumerate(found):
            assert (row["media_type"], row["orientation"]) == ("image/png", 1)
            for name in ("sha256", "tar", "offset", "size"):
                assert row[name] == (known[number][name] if number in kept else None)


# What an entry holds


@pytest.mark.parametrize("changes", [{}, {"image__store": "jpeg"}], ids=["tensor", "jpeg"])
@pytest.mark.parametrize("modality", ["image", "audio"])
def test_an_entry_holds_the_members_and_the_moments(modality: str, changes: Mapping[str, Any]) -> None:
    params = make_params(**changes).features[modality]
    known, item = MODALITIES[modality], MediaItem(draw_item("one", modality), MEDIA_TYPES[modality])
    fields, arrays = dict(known.plan_fields(params)), known.extract(item, params, None)
    assert not isinstance(arrays, Rejection)
    entry = compute_entry(known, item, params, fields, b"k" * 32)
    assert (entry.key, entry.rejected) == (b"k" * 32, False)
    assert list(entry.pieces) == [field.encode(arrays[name]) for name, field in fields.items()]
    ((name, moments),) = sum_records([entry.record], fields).items()
    value = arrays[name]
    if isinstance(value, bytes):
        value = decode_jpeg(np.frombuffer(value, np.uint8), fields[name].shape)
    elif f"{name}_length" in arrays:
        value = value[: int(np.asarray(arrays[f"{name}_length"]))]
    expected = measure(value)
    assert moments.count == expected.count
    np.testing.assert_array_equal([moments.mean, moments.squares], [expected.mean, expected.squares])


def test_an_entry_of_a_text_holds_its_words_and_the_text() -> None:
    known, params = MODALITIES["text"], make_params().features["text"]
    assert known.learning is not None
    item = MediaItem("a größer bird".encode(), "text/plain")
    entry = compute_entry(known, item, params, {}, b"k" * 32)
    assert decode_parsed(entry.pieces) == known.learning.parse(item, params)
    assert entry.pieces[1] == item.data
    with pytest.raises(DamagedError):
        decode_parsed([b"{"])


def test_an_entry_of_what_cannot_be_read_is_its_rejection() -> None:
    known, params = MODALITIES["image"], make_params().features["image"]
    entry = compute_entry(known, MediaItem(b"no", "image/png"), params, dict(known.plan_fields(params)), b"k" * 32)
    assert entry.rejected
    rejection = decode_rejection(entry)
    assert (rejection.reason, rejection.detail) == (Reason.BROKEN, "the decoder cannot read the pixels")


# The names of shards in the cache


def find_name(folder: Path, things: Sequence[Thing], **changes: Any) -> str:
    """The cache name of the first shard of these things."""
    shutil.rmtree(folder, ignore_errors=True)
    write_corpus(folder / "data", things)
    task = plan_tasks(folder, make_params(shards=1, classes=["one", "two"], **changes))[0]
    items = open_row_file(task.folders.items).read(task.parts["item"].to_numpy())
    return name_shard(task.recipe.assembly, task.samples, task.parts, items)


# Of one text, so that the vocabulary stays as it is.
BASE = [Thing(f"thing-{number}", contents={"text": b"red bird"}) for number in range(4)]


def change_first(**changes: Any) -> list[Thing]:
    return [replace(BASE[0], **changes), *BASE[1:]]


def draw_as(number: int, other: int) -> Thing:
    """A thing with the image of another one."""
    return replace(BASE[number], contents={"text": b"red bird", "image": draw_item(f"thing-{other}", "image")})


CHANGES: Mapping[str, tuple[Sequence[Thing], Mapping[str, Any]]] = {
    "label": (change_first(label="two"), {}),
    "content": ([draw_as(0, 9), *BASE[1:]], {}),
    "contents swapped": ([draw_as(0, 1), draw_as(1, 0), *BASE[2:]], {}),
    "licence": (change_first(columns={"licence": "MIT"}), {}),
    "url": (change_first(columns={"url": "http://example.org/a"}), {}),
    "orientation": (change_first(columns={"orientation": 3}), {}),
    "span": (change_first(spans={"audio": (0.0, 0.1)}), {}),
    "no audio": (change_first(modalities=("image", "text")), {}),
    "split": ([replace(thing, split="val") for thing in BASE], {}),
    "fewer": (BASE[1:], {}),
    "params": (BASE, {"audio__hop": 64}),
    "vocabulary": (BASE, {"text__min_count": 100}),
    "dtype": (BASE, {"text__dtype": "uint16"}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_names_change_with_all_that_bytes_follow_from(change: str, tmp_path: Path) -> None:
    things, params = CHANGES[change]
    assert find_name(tmp_path / "base", BASE) != find_name(tmp_path / "other", things, **params)


def test_names_do_not_change_with_the_places_of_items(tmp_path: Path) -> None:
    """Their numbers, tars and offsets are others where there are more items, in another order."""
    more = [Thing(f"more-{number}", "val") for number in range(5)]
    assert find_name(tmp_path / "one", BASE) == find_name(tmp_path / "two", [*more, *BASE[::-1]])


# What goes wrong between the plan and the tasks


def test_features_whose_pack_is_gone_are_computed_with_the_shard(tmp_path: Path) -> None:
    write_corpus(tmp_path / "data", [Thing(f"thing-{number}") for number in range(8)])
    (task,) = plan_tasks(tmp_path, make_params(shards=1))
    assert task.count_items() == 0, "all features are in packs"
    made = make_shard(replace(task, path=task.path.with_name("first.tar")))
    expected = made.cached, task.path.with_name("first.tar").read_bytes()
    (task,) = plan_tasks(tmp_path, make_params(shards=1))
    packs = task.folders.objects.list_names()
    for name in packs:
        task.folders.objects.remove(name)
    again = make_shard(task)
    assert again.computed == 24
    assert again.damaged == set(packs)
    assert (again.cached, task.path.read_bytes()) == expected


class LosesText:
    """Runs tasks in this process; the first item of the first task of texts is lost."""

    lost: bytes | None = None

    def run_tasks(self, function: Any, tasks: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        for number, task in enumerate(tasks):
            if self.lost is None and isinstance(task, FeatureTask) and task.extractor.modality == "text":
                self.lost = task.rows["key"][0].as_py()
                task = task.lose_items({0: Rejection(Reason.TIMEOUT, "it hangs")})
            yield number, function(task)


@pytest.mark.parametrize("cached", [False, True], ids=["first run", "sample in the cache"])
def test_a_text_that_no_worker_parses_drops_its_sample_and_is_not_learned(
    cached: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the sample is in the cache, and the text is not: a run drops the same with and without a cache."""
    texts = [b"red bird", b"green bird", b"loud bird"]
    things = [Thing(f"thing-{n}", contents={"text": text}) for n, text in enumerate(texts)]
    params = make_params(shards=1, max_dropped=0.9)
    write_corpus(tmp_path / "data", things)
    if cached:
        run_extract(tmp_path, params)
        for pack in (tmp_path / "cache/objects").glob("*.pack*"):
            pack.unlink()
    executor = LosesText()
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.extract.step.open_executor", lambda *_: nullcontext(executor))
        outcome = run_extract(tmp_path, params, allow_machine_drops=True)
    assert executor.lost is not None
    assert (outcome.seen, outcome.kept) == (3, 2)
    words = json.loads((tmp_path / "data" / SHARDS_FOLDER / "vocabulary.json").read_text())["words"]
    assert len({"red", "green", "loud"} & set(words)) == 2
    outcome = run_extract(tmp_path, params)
    assert outcome.kept == 3, "the next run tries again"
    extract_things(tmp_path / "nothing", things, params)
    assert hash_files(tmp_path / "data" / SHARDS_FOLDER) == hash_files(tmp_path / "nothing/data" / SHARDS_FOLDER)
