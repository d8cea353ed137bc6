"""Each flaw planted in the demo is dropped at the stage and for the reason planned, and nothing else is lost."""

from pathlib import Path

import pytest

from demo.flaws import EXPECTED, ORIENTATIONS, Flaw
from tests.support.demo_run import LOST, MODALITY, Run, find_path

pytestmark = pytest.mark.slow


def test_every_flaw_is_planted(run: Run) -> None:
    assert set(run.site.count_flaws()) == set(Flaw)


@pytest.mark.parametrize("flaw", LOST)
def test_every_flaw_is_dropped_as_planned(run: Run, flaw: Flaw) -> None:
    expected = EXPECTED[flaw]
    for thing in run.site.find_flawed(flaw):
        assert run.find_sample(thing) is None
        if flaw in (Flaw.NO_PICTURE, Flaw.NO_SOUND):  # a missing part has no row: its partners have one
            partner = (thing.page, "text")
            assert run.fates[partner] == ("align", "missing_partner")
            continue
        path = find_path(thing, expected.part)
        modality = MODALITY.get(expected.part, "") if expected.stage in ("clean", "align") else ""
        assert run.fates[(path, modality)] == (expected.stage, str(expected.reason))


def test_one_of_exact_duplicates_is_kept(run: Run) -> None:
    for thing in run.site.find_flawed(Flaw.EXACT_DUPLICATE):
        pair = [thing, run.site.things[thing.copy_of or 0]]
        kept = [run.find_sample(one) for one in pair]
        assert sum(sample is not None for sample in kept) == 1
        lost = pair[0] if kept[0] is None else pair[1]
        assert run.fates[(lost.page, "text")] == ("align", "duplicate")


def test_near_duplicates_share_a_group(run: Run) -> None:
    for thing in run.site.find_flawed(Flaw.NEAR_DUPLICATE):
        one, other = (run.find_sample(each) for each in (thing, run.site.things[thing.copy_of or 0]))
        assert one is not None
        assert other is not None
        assert one["group"] == other["group"]
        assert one["split"] == other["split"]


def test_everything_without_a_flaw_becomes_a_sample(run: Run) -> None:
    lost = sum(any(EXPECTED[flaw].loses_thing for flaw in thing.flaws) for thing in run.site.things)
    assert len(run.samples) == len(run.site.things) - lost
    assert run.outcomes["extract"].kept == len(run.samples)
    labels = {sample["text"]: sample["label"] for sample in run.samples}
    for thing in run.site.things:
        item = run.find_item(thing, "caption")
        if item and item["id"] in labels:
            assert labels[item["id"]] == thing.kind.name


def test_orientation_is_kept_as_a_column(run: Run) -> None:
    for flaw, orientation in ORIENTATIONS.items():
        for thing in run.site.find_flawed(flaw):
            item = run.find_item(thing, "picture")
            assert item is not None
            assert item["orientation"] == orientation


def read_content(path: Path) -> bytes:
    """Return the readable content of a file: the values of a part of a table, else its bytes."""
    if path.suffix != ".parquet":
        return path.read_bytes()
    import pyarrow.parquet as pq

    return str(pq.read_table(path).to_pylist()).encode()


def test_no_personal_data_passes_clean(run: Run) -> None:
    secrets = [secret.encode() for thing in run.site.things for secret in thing.secrets]
    before = [path for folder in ("1_crawled", "2_ingested") for path in sorted((run.data / folder).rglob("*"))]
    found_before = b"".join(read_content(path) for path in before if path.is_file())
    assert all(secret in found_before for secret in secrets)
    assert b"Exif" in found_before
    for folder in ("3_cleaned", "4_aligned", "5_shards", "5_extract"):
        for path in (path for path in (run.data / folder).rglob("*") if path.is_file()):
            content = read_content(path)
            assert not [secret for secret in (*secrets, b"Exif") if secret in content]
    redacted = [t for flaw in (Flaw.EMAIL_IN_CAPTION, Flaw.PHONE_IN_CAPTION) for t in run.site.find_flawed(flaw)]
    assert all((run.find_item(thing, "caption") or {"redactions": 0})["redactions"] == 1 for thing in redacted)


def test_links_to_other_hosts_are_rows_and_not_requests(run: Run) -> None:
    for link in run.site.offsite_links:
        assert run.crawled[link]["reason"] == "out_of_bounds"
