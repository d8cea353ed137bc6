"""`shardwright why` on tables that a test writes: parts with several items, clusters, tables of other runs."""

import dataclasses
import json
from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.lineage.facts import CleanFacts, WhyAnswer
from pipeline.lineage.stage_tables import StageTables
from pipeline.lineage.why.explain import explain_answer
from pipeline.lineage.why.query import read_query
from pipeline.lineage.why.trace import open_tracer
from pipeline.tables.columns import Row
from pipeline.tables.contracts import ALIGNED_FOLDER, INGESTED_FOLDER
from pipeline.tables.drops import Drop, Reason
from tests.support.stage_tables import AlignedSample, make_item, write_cleaned, write_crawl, write_items, write_samples

CAPTIONS = [f"owl/{number}.txt" for number in "31425"]
FILES = ["owl/photo.png", *CAPTIONS, "cat/photo.png", "cat/1.txt", "lone.txt"]
SAMPLES = [
    AlignedSample("owl-1", {"photo": ["owl/photo.png"], "caption": CAPTIONS}, label="owl"),
    AlignedSample("cat-1", {"photo": ["cat/photo.png"], "caption": ["cat/1.txt"]}, "val"),
]


def write_tables(data: Path) -> list[Row]:
    items = write_items(data, [make_item(file) for file in FILES])
    write_cleaned(data, items, [["owl/photo.png", "cat/photo.png"]], [Drop("folder:lone.txt", Reason.TOO_SHORT, "")])
    write_samples(data, items, SAMPLES)
    return items


def ask(data: Path, word: str, most: int = 10) -> WhyAnswer:
    return open_tracer(StageTables(data), most).answer(read_query(word, ()))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("why")
    write_tables(folder)
    return folder


@pytest.mark.parametrize("file", CAPTIONS)
def test_each_item_of_a_part_names_its_sample_and_its_place(data: Path, file: str) -> None:
    answer = ask(data, file)
    (item,) = answer.files[0].items
    (sample,) = answer.samples
    assert item.sample == sample.key == "owl-1"
    assert item.place
    assert (item.place.name, item.place.number, item.place.count) == ("caption", CAPTIONS.index(file) + 1, 5)
    assert {name: [part.item for part in parts] for name, parts in sample.parts.items()} == {
        "photo": ["folder:owl/photo.png"],
        "caption": [f"folder:{caption}" for caption in CAPTIONS],
    }
    lines = list(explain_answer(answer))
    assert f"    align  in sample owl-1, caption {CAPTIONS.index(file) + 1} of 5" in lines
    assert f"  caption 1 of 5 folder:{CAPTIONS[0]}" in lines
    assert json.loads(json.dumps(dataclasses.asdict(answer)))["samples"][0]["parts"]["caption"][4]["start"] is None


def test_a_sample_is_followed_to_the_items_of_all_its_parts(data: Path) -> None:
    answer = ask(data, "owl-1")
    assert [file.name for file in answer.files] == [f"folder:{file}" for file in ("owl/photo.png", *CAPTIONS)]
    assert [item.sample for file in answer.files for item in file.items] == ["owl-1"] * 6
    assert [file.name for file in ask(data, "cat-1", most=1).files] == ["folder:cat/photo.png"]
    assert "  photo    folder:cat/photo.png" in list(explain_answer(ask(data, "cat-1")))


def test_clusters_and_drops_are_those_of_the_item(data: Path) -> None:
    (item,) = ask(data, "owl/photo.png").files[0].items
    assert isinstance(item.clean, CleanFacts)
    assert item.clean.same.names == ["folder:cat/photo.png"]
    assert (item.clean.same.count, item.clean.near.count, item.clean.facts) == (1, 0, {"characters": 7})
    (lone,) = ask(data, "lone.txt").files[0].items
    assert not isinstance(lone.clean, CleanFacts)
    assert lone.clean
    assert (lone.clean.reason, lone.sample, lone.place) == (Reason.TOO_SHORT, None, None)


def test_an_item_is_found_by_its_id_alone(data: Path, tmp_path: Path) -> None:
    items = write_tables(tmp_path)
    for row in items:
        (file,) = ask(tmp_path, row["id"]).files
        assert [item.id for item in file.items] == [row["id"]]
        assert ask(data, row["file"]).files == [file]


def test_tables_that_refer_to_other_items_say_nothing_of_them(tmp_path: Path) -> None:
    write_tables(tmp_path)
    items = write_items(tmp_path, [make_item(file, content=f"new {file}") for file in FILES])
    answer = ask(tmp_path, CAPTIONS[0])
    (item,) = answer.files[0].items
    assert (item.clean, item.align, item.sample) == (None, None, None)
    assert item.id in {row["id"] for row in items}
    assert answer.outdated == ["clean", "align"]
    lines = list(explain_answer(answer))
    for stage, folder in (("clean", "3_cleaned"), ("align", "4_aligned")):
        assert (
            f"{folder} refers to another version of 2_ingested/items, so nothing is known of {stage}: "
            f"run `dvc repro {stage}`"
        ) in lines
    (sample,) = ask(tmp_path, "owl-1").samples
    assert (sample.split, sample.label, sample.parts) == ("train", "owl", {})
    write_cleaned(tmp_path, items)
    assert StageTables(tmp_path).outdated == ["align"]
    (item,) = ask(tmp_path, CAPTIONS[0]).files[0].items
    assert isinstance(item.clean, CleanFacts)


def test_without_the_items_numbers_have_no_meaning(data: Path, tmp_path: Path) -> None:
    write_tables(tmp_path)
    (tmp_path / INGESTED_FOLDER).rename(tmp_path / "elsewhere")
    answer = ask(tmp_path, "owl-1")
    assert (answer.samples[0].split, answer.samples[0].parts, answer.files) == ("train", {}, [])
    assert "2_ingested is missing, so nothing is known of ingest: run `dvc repro ingest`" in list(
        explain_answer(answer)
    )


def test_a_missing_part_of_a_table_is_an_error(tmp_path: Path) -> None:
    write_tables(tmp_path)
    (tmp_path / ALIGNED_FOLDER / "samples/part-000000.parquet").unlink()
    with pytest.raises(InputError, match=r"4_aligned/samples/part-000000\.parquet is missing: run the stage"):
        ask(tmp_path, "cat-1")


def test_a_url_leads_to_its_file_and_a_redirect_to_its_url(tmp_path: Path) -> None:
    url, other = "http://x.test/a%20b.txt?q=1", "http://x.test/gone"
    items = [make_item("a b.txt?q=1", source="x.test", url=url), make_item("a b.txt?q=1", url=None)]
    write_items(tmp_path, items)
    drops = [Drop(other, Reason.TIMEOUT, "no answer")]
    write_crawl(tmp_path, {url: {"final_url": "http://x.test/end"}, other: {"reason": "timeout"}}, drops)
    for word in (url, "HTTP://X.test/a%20b.txt?q=1#top", "x.test:a b.txt?q=1", "http://x.test/end"):
        (file,) = ask(tmp_path, word).files
        assert (file.name, file.count) == ("x.test:a b.txt?q=1", 1)
        assert file.response
        assert file.response.url == url
    assert ask(tmp_path, "a b.txt?q=1").matches.count == 2
    (gone,) = ask(tmp_path, other).files
    assert gone.response
    assert gone.response.dropped
    assert gone.response.dropped.reason == Reason.TIMEOUT
