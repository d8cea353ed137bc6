"""Dropped rows name the setting that decided: wherever one did, nowhere else, and it exists in the params types."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from pydantic import BaseModel, RootModel

from pipeline.align.params import AlignParams
from pipeline.clean.params import CleanParams
from pipeline.config.field_docs import list_models
from pipeline.crawl.params import CrawlParams
from pipeline.extract.params import ExtractParams
from pipeline.ingest.params import IngestParams
from pipeline.tables.columns import Row
from pipeline.tables.contracts import DROPPED
from pipeline.tables.drops import Drop, Reason, Rejection
from pipeline.tables.table_files import read_table
from tests.support.aligning import plan_samples
from tests.support.demo_run import Run
from tests.support.item_rows import ENDINGS, make_align_params, make_item, make_thing

pytestmark = pytest.mark.slow

BLOCKS: Mapping[str, type[BaseModel]] = {
    "crawl": CrawlParams,
    "ingest": IngestParams,
    "clean": CleanParams,
    "align": AlignParams,
    "extract": ExtractParams,
}

DECIDED: Mapping[tuple[str, Reason], str] = {
    ("crawl", Reason.OPTED_OUT): "crawl.consent.uses",
    ("crawl", Reason.OUT_OF_BOUNDS): "crawl.start",
    ("crawl", Reason.TIMEOUT): "crawl.timeout",
    ("ingest", Reason.IGNORED): "ingest.ignore",
    ("ingest", Reason.NO_ITEMS): "ingest.page_text",
    ("clean", Reason.FLAT): "clean.image.min_contrast",
    ("clean", Reason.SILENT): "clean.audio.min_level",
    ("clean", Reason.TOO_SMALL): "clean.image.min_side",
    ("align", Reason.DUPLICATE): "align.duplicates.exact",
    ("align", Reason.MISSING_PARTNER): "align.modalities.{}.required",
}
"""The setting behind each reason that a setting decides, of those in the demo; {} is a modality."""

UNDECIDED = {
    ("crawl", Reason.HTTP_ERROR),
    ("crawl", Reason.ROBOTS_FORBID),
    ("ingest", Reason.EMPTY),
    ("ingest", Reason.TYPE_MISMATCH),
    ("clean", Reason.TRUNCATED),
}
"""The reasons in the demo that no setting decides: damage, and what others refuse."""


def read_dropped(run: Run) -> Iterator[Row]:
    for path in sorted(run.data.glob("*/dropped")):
        yield from read_table(path, DROPPED)


def has_key(block: type[BaseModel], keys: list[str]) -> bool:
    """Whether the params have the key, inside blocks that may be null or one of several types."""
    if not keys:
        return True
    field = block.model_fields.get("root" if issubclass(block, RootModel) else keys[0])
    if field is None:
        return False
    return len(keys) == 1 or any(has_key(each, keys[1:]) for each in list_models(field.annotation))


def is_setting(key: str) -> bool:
    block, *keys = key.split(".")
    return bool(keys) and has_key(BLOCKS[block], keys)


@pytest.mark.parametrize(("stage", "reason"), DECIDED, ids=str)
def test_every_reason_that_a_setting_decides_names_it(run: Run, stage: str, reason: Reason) -> None:
    rows = [row for row in read_dropped(run) if (row["stage"], row["reason"]) == (stage, str(reason))]
    assert rows
    allowed = {DECIDED[stage, reason].format(name) for name in ("image", "audio", "text")}
    assert {setting for row in rows for setting in row["setting"].split(", ")} <= allowed


def test_all_other_reasons_name_no_setting(run: Run) -> None:
    rows = [row for row in read_dropped(run) if (row["stage"], row["reason"]) not in DECIDED]
    assert {(row["stage"], row["reason"]) for row in rows} == UNDECIDED
    assert {row["setting"] for row in rows} == {""}


def test_every_setting_in_the_tables_exists(run: Run) -> None:
    settings = {key for row in read_dropped(run) if row["setting"] for key in row["setting"].split(", ")}
    assert settings
    assert [key for key in settings if not is_setting(key)] == []
    assert not is_setting("clean.image.min_sides")
    assert not is_setting("clean")


def list_settings(rows: list[Row], **changes: Any) -> set[tuple[str, str, str]]:
    """Reason, setting and limit of all that align drops."""
    drops = plan_samples(rows, make_align_params(**changes)).drops
    return {(str(drop.reason), drop.setting, drop.limit) for drop in drops}


NO_AUDIO = {name: {"pattern": rf"(?P<key>(?P<label>[^/]+)/.+)\.{ENDINGS[name]}"} for name in ("image", "text")}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ("missing_partner", "align.modalities.text.required", "true")),
        ({"within": ["elsewhere"]}, ("not_selected", "align.within", "elsewhere")),
        ({"by": "table"}, ("not_selected", "align.by", "table")),
        ({"modalities__text__part": "en"}, ("not_selected", "align.modalities.text.part", "en")),
        (
            {"modalities__image__pattern": "(?P<key>no).such"},
            ("not_selected", "align.modalities.image.pattern", "(?P<key>no).such"),
        ),
        ({"modalities": NO_AUDIO}, ("not_selected", "align.modalities", "image, text")),
        ({"min_samples": 3}, ("rare_label", "align.min_samples", "3")),
        ({"classes": ["b"]}, ("unknown_label", "align.classes", "b")),
        ({"label": "column"}, ("missing_label", "align.label", "column")),
        ({"split": "column"}, ("missing_split", "align.split", "column")),
    ],
)
def test_align_names_what_left_an_item_out(changes: dict[str, Any], expected: tuple[str, str, str]) -> None:
    rows = [*make_thing("a/one"), *make_thing("a/two"), *make_thing("b/three")[:2]]
    found = list_settings(rows, **changes)
    assert expected in found
    assert all(is_setting(key) for _, setting, _ in found for key in setting.split(", "))


def test_several_required_partners_are_several_settings() -> None:
    (drop,) = plan_samples([make_item("image", "a/lone")], make_align_params()).drops
    assert drop.setting == "align.modalities.audio.required, align.modalities.text.required"


def test_an_extra_item_names_the_one_that_is_kept() -> None:
    rows = [*make_thing("a/one"), make_item("text", "a/one", part="es")]
    (drop,) = plan_samples(rows, make_align_params()).drops
    assert (drop.setting, drop.kept_key) == ("", "folder:a/one.txt")


def test_a_setting_is_relative_to_its_block_unless_it_limits_the_machine() -> None:
    def find_setting(setting: str, block: str) -> str:
        return Rejection(Reason.MEMORY, "", setting=setting).drop("key", block).setting

    assert find_setting("min_side", "clean.image") == "clean.image.min_side"
    assert find_setting("run.memory", "clean.image") == "run.memory"
    assert find_setting("align.by", "") == "align.by"
    assert find_setting("", "clean.image") == ""
    assert Rejection(Reason.EXTRA_ITEM, "").drop("key", kept_key="other") == Drop(
        "key", Reason.EXTRA_ITEM, "", kept_key="other"
    )
