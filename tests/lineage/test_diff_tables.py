"""`shardwright diff` finds in the stage tables why a sample is lost or changed, whatever its parts are."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.lineage.diff.causes import find_causes
from pipeline.lineage.diff.command import run as diff
from pipeline.lineage.diff.sample_tables import NAME, compare_groups, compare_items, open_samples
from pipeline.lineage.stage_tables import StageTables
from pipeline.tables.contracts import EXTRACT_FOLDER, SHARDS_FOLDER
from pipeline.tables.database import Database
from pipeline.tables.drops import Drop, Reason
from pipeline.tables.item_names import name_item
from shardwright import Field, ShardWriter
from tests.support.stage_tables import (
    AlignedSample,
    make_item,
    write_cleaned,
    write_crawl,
    write_drops,
    write_items,
    write_samples,
)

NAMES = [f"thing-{number}" for number in range(8)]


def list_files(name: str) -> dict[str, list[str]]:
    return {"photo": [f"{name}.png"], "caption": [f"{name}.{number}.txt" for number in (2, 1)]}


def write_tables(data: Path, names: Sequence[str], **contents: str) -> None:
    """Write the tables of these samples; `contents` are by the name of the sample whose second caption has them."""
    files = [file for name in names for part in list_files(name).values() for file in part]
    items = [make_item(file, content=contents.get(file.removesuffix(".1.txt"), file)) for file in files]
    numbered = write_items(data, items)
    write_cleaned(data, numbered)
    write_samples(data, numbered, [AlignedSample(name, list_files(name)) for name in names])


def list_causes(keys: Sequence[str], having: Path, lacking: Path) -> list[str]:
    causes = find_causes(np.array(sorted(keys), "S64"), StageTables(having), StageTables(lacking))
    return [str(causes.known[number]) for number in causes.numbers]


@pytest.fixture(scope="module")
def having(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("having")
    write_tables(folder, NAMES)
    return folder


def test_the_first_loss_of_its_items_is_the_cause(having: Path, tmp_path: Path) -> None:
    gone, small, partner, other, dropped, refused, kept, unknown = NAMES
    files = [file for name in NAMES if name != gone for part in list_files(name).values() for file in part]
    items = write_items(
        tmp_path,
        [make_item(file) for file in files if file != f"{refused}.png"],
        [Drop(f"folder:{refused}.png", Reason.EMPTY, "no bytes")],
    )
    drops = [Drop(f"folder:{small}.2.txt", Reason.TOO_SHORT, "", "2", "5", setting="clean.text.min_characters")]
    write_cleaned(tmp_path, items, drops=drops)
    partners = [
        Drop(f"folder:{small}.png", Reason.MISSING_PARTNER, ""),
        Drop(f"folder:{partner}.png", Reason.MISSING_PARTNER, ""),
    ]
    samples = [
        AlignedSample("another", list_files(other)),
        *(AlignedSample(name, list_files(name)) for name in (dropped, kept)),
    ]
    write_samples(tmp_path, items, samples, partners)
    write_drops(tmp_path / EXTRACT_FOLDER, "extract", "sample", [Drop(dropped, Reason.MEMORY, "", limit="1")])
    assert dict(zip(NAMES, list_causes(NAMES, having, tmp_path), strict=True)) == {
        gone: "its photo is not in the input",
        small: "its caption was dropped in clean: too_short (setting clean.text.min_characters is 5)",
        partner: "its photo was dropped in align: missing_partner",
        other: "its photo is in another sample",
        dropped: "the sample was dropped in extract: memory",
        refused: "its photo was dropped in ingest: empty",
        kept: "its photo is in another sample",
        unknown: "the stage tables give no cause",
    }
    assert list_causes([small], tmp_path, having) == ["the stage tables give no cause"]


def test_a_url_that_the_crawl_dropped_is_a_cause(tmp_path: Path) -> None:
    url = "http://x.test/a.png"
    items = write_items(tmp_path / "old", [make_item("a.png", source="x.test", url=url)])
    write_samples(tmp_path / "old", items, [AlignedSample("a", {"image": ["a.png"]})])
    write_crawl(tmp_path / "new", {url: {"reason": "timeout"}}, [Drop(url, Reason.TIMEOUT, "")])
    assert list_causes(["a"], tmp_path / "old", tmp_path / "new") == ["its image was dropped in crawl: timeout"]


def test_tables_of_other_items_give_no_cause(having: Path, tmp_path: Path) -> None:
    write_tables(tmp_path, NAMES)
    write_items(tmp_path, [make_item(f"{NAMES[0]}.png")])
    assert list_causes(NAMES[:1], tmp_path, having) == ["the stage tables give no cause"]
    assert StageTables(tmp_path).outdated == ["clean", "align"]


def test_tables_of_other_items_are_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for side, names in (("old", NAMES[:2]), ("new", NAMES[1:2])):
        write_tables(tmp_path / side, names)
        with ShardWriter(tmp_path / side / SHARDS_FOLDER, "train", {"n": Field("int64", ())}) as writer:
            for name in names:
                writer.write(name, {"n": np.array(1)}, {})
    write_items(tmp_path / "new", [make_item(f"{NAMES[0]}.png")])
    assert diff([str(tmp_path / "old"), str(tmp_path / "new")]) == 1
    output = capsys.readouterr().out
    assert "1 removed" in output
    for folder in ("3_cleaned", "4_aligned"):
        assert f"new/{folder} refers to another version of 2_ingested/items" in output


def test_changed_items_are_found_by_part(having: Path, tmp_path: Path) -> None:
    changed = {"thing-1", "thing-4"}
    write_tables(tmp_path, NAMES[1:], **dict.fromkeys(changed, "other words"))
    keys = np.array(NAMES[1:], "S64")
    changes = compare_items(keys, StageTables(having), StageTables(tmp_path))
    expected = [name in changed for name in NAMES[1:]]
    assert changes.items.tolist() == expected
    assert {part: mask.tolist() for part, mask in changes.contents.items()} == {
        "caption": expected,
        "photo": [False] * len(keys),
    }
    assert compare_groups(keys, StageTables(having), StageTables(tmp_path)).all()


@pytest.fixture(scope="module")
def database(having: Path) -> Iterator[Database]:
    with open_samples(np.array(NAMES, "S64"), old=StageTables(having)) as opened:
        yield opened


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6)


@given(source=TEXT, file=TEXT, part=TEXT)
def test_items_have_the_same_names_in_sql(database: Database, source: str, file: str, part: str) -> None:
    row = {"source": source, "file": file, "part": part}
    ((name,),) = database.fetch(f"SELECT {NAME} FROM (SELECT $source AS source, $file AS file, $part AS part)", row)
    assert name == name_item(row)
