"""Folds: each group is in one fold, each sample is tested exactly once, and old groups stay where they were."""

import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.align.params import AlignParams
from pipeline.align.split_quotas import FEWEST
from pipeline.align.step import align
from pipeline.config.check_params import check_block
from pipeline.errors import InputError, ParamsError
from pipeline.tables.columns import Row
from pipeline.tables.contracts import ALIGNED_FOLDS, FOLDS
from pipeline.tables.table_files import read_table
from tests.align.reference import PlacedSample
from tests.support.aligning import open_aligned, plan_samples
from tests.support.item_rows import make_align_params, make_thing
from tests.support.stage_folders import hash_folder


def make_rows(groups: list[str], **values: Any) -> list[Row]:
    """A thing for each of the groups, which may repeat."""
    return [row for n, group in enumerate(groups) for row in make_thing(f"cat/{n}", group=group, **values)]


def make_folds(rows: list[Row], count: int, **changes: Any) -> list[dict[str, PlacedSample]]:
    """The samples by key for each fold that is tested on."""
    plans = [plan_samples(rows, make_align_params(max_group=1.0, fold=fold, **changes)) for fold in range(count)]
    return [{placed.sample.key: placed for placed in plan.samples} for plan in plans]


def find_tested(plans: list[dict[str, PlacedSample]]) -> dict[str, list[int]]:
    return {key: [n for n, plan in enumerate(plans) if plan[key].split == "test"] for key in plans[0]}


def check_folds(plans: list[dict[str, PlacedSample]]) -> None:
    """Each sample is tested once, each group in one fold, and no fold's training sees a group of its test."""
    tested = find_tested(plans)
    assert all(len(folds) == 1 for folds in tested.values())
    for plan in plans:
        assert plan.keys() == plans[0].keys()
        splits: dict[str, set[str]] = {}
        for placed in plan.values():
            splits.setdefault(placed.group, set()).add(placed.split)
        assert all(len(each) == 1 for each in splits.values())
        assert "test" in {placed.split for placed in plan.values()}


@given(st.lists(st.sampled_from("abcdefg"), min_size=7, max_size=40), st.integers(2, 4))
@settings(max_examples=5)
def test_each_sample_is_tested_once(groups: list[str], folds: int) -> None:
    rows = make_rows([*"abcdefg", *groups])
    check_folds(make_folds(rows, folds, folds=folds))
    check_folds(make_folds(rows, 7, folds="by_group"))


def test_many_groups_are_dealt_alike_and_new_ones_move_none() -> None:
    old = make_rows([f"g{n}" for n in range(2 * FEWEST)])
    before = make_folds(old, 3, folds=3)
    check_folds(before)
    sizes = Counter(folds[0] for folds in find_tested(before).values())
    assert all(20 < sizes[fold] < 50 for fold in range(3))
    more = [row for n in range(9) for row in make_thing(f"dog/{n}", group=f"new{n}")]
    after = make_folds(old + more, 3, folds=3)
    assert all(plan[key] == placed for plan, kept in zip(after, before, strict=True) for key, placed in kept.items())


def test_a_fold_for_each_group_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    rows = make_rows(["10", "9", "9", "2", "b"])
    workspace = open_aligned(tmp_path, rows)
    outcome = align(make_align_params(max_group=1.0, folds="by_group", fold=1), workspace)
    folds = read_table(workspace.work / ALIGNED_FOLDS, FOLDS)
    assert [(row["fold"], row["name"], row["samples"]) for row in folds] == [
        (0, "2", 1), (1, "9", 2), (2, "10", 1), (3, "b", 1)
    ]  # fmt: skip
    assert "test is fold 1 of 4 from 0 on, '9': 2 samples" in outcome.notes


def test_folds_of_the_data_keep_groups_whole() -> None:
    rows = [row for n in range(10) for row in make_thing(f"cat/{n}", split=str(n % 5 + 1))]
    rows += [row for n in range(2) for row in make_thing(f"dog/{n}", split=str(n + 3), group="one")]
    plans = make_folds(rows, 5, folds="by_split", split="column")
    check_folds(plans)
    tested = find_tested(plans)
    assert len(tested) == 11  # of the group in two folds, the sample in the second is dropped
    assert Counter(folds[0] for folds in tested.values()) == {0: 2, 1: 2, 2: 3, 3: 2, 4: 2}


def test_training_and_validation_share_the_rest(tmp_path: Path) -> None:
    plans = make_folds(make_rows([f"g{n}" for n in range(20)]), 2, folds=4)
    for plan in plans:
        assert Counter(placed.split for placed in plan.values()) == {"train": 12, "val": 3, "test": 5}
    shares = {"train": 1.0, "val": 0.0, "test": 0.0}
    (plan,) = make_folds(make_rows(list("abcd")), 1, folds="by_group", shares=shares)
    assert Counter(placed.split for placed in plan.values()) == {"train": 3, "test": 1}


@pytest.mark.slow
@pytest.mark.parametrize("folds", [3, "by_group", "by_split"])
def test_workers_change_no_byte(folds: int | str, tmp_path: Path) -> None:
    rows = [row for n in range(30) for row in make_thing(f"cat/{n}", group=f"g{n % 9}", split=str(n % 9 % 3))]
    params = make_align_params(max_group=1.0, folds=folds, fold=2, split="column" if folds == "by_split" else "hash")
    hashes = []
    for buckets in (0, 3):
        workspace = open_aligned(tmp_path / str(buckets), rows, workers=0, buckets=buckets)
        align(params, workspace)
        hashes.append(hash_folder(workspace.work))
    assert hashes[0] == hashes[1] != {}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"folds": 5, "fold": 5}, r"align\.fold is 5; it must be less than align\.folds \(5\)"),
        ({"fold": 1}, r"align\.fold is 1; it must be 0 as long as align\.folds is null"),
        ({"folds": "by_split"}, r"align\.split is \"hash\" \(the default\); it must be path or column"),
        ({"folds": 3, "split": "column"}, r"align\.split is \"column\"; it must be hash"),
        ({"folds": 1}, r"align\.folds is 1; it must be at least 2"),
        ({"folds": "by_speaker"}, r"align\.folds is \"by_speaker\"; it must be by_group or by_split"),
        (
            {"val_from_train": 0.1},
            r"align\.val_from_train is 0\.1; it must be 0, as align\.shares has the share of val",
        ),
        ({"labels": {"a": "b"}}, r"align\.labels is a mapping; it must be null, as align\.label is none"),
    ],
)
def test_wrong_params_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        check_block({"align": changes}, "align", AlignParams)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"folds": 5}, r"align\.folds is 5; it must be at most 3, the number of groups"),
        ({"folds": "by_group", "fold": 3}, r"align\.fold is 3; it must be less than 3, the number of folds"),
        ({"folds": "by_split", "split": "column"}, r"its fold is 'A'; it must be a whole number from 0 to 127"),
    ],
)
def test_data_that_does_not_have_the_folds_is_named(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    rows = make_rows(list("abc"), split="A")
    with pytest.raises(InputError, match=message):
        align(make_align_params(max_group=1.0, **changes), open_aligned(tmp_path, rows))


def test_validation_out_of_a_given_train_split() -> None:
    rows = [
        row
        for n in range(90)
        for row in make_thing(f"cat/{n}", split="test" if n < 10 else "train", group=f"g{n // 2}")
    ]
    params = make_align_params(split="column", val_from_train=0.25)
    plan = plan_samples(rows, params)
    assert Counter(placed.split for placed in plan.samples) == {"test": 10, "train": 60, "val": 20}
    (groups, other) = ({p.group for p in plan.samples if p.split == split} for split in ("train", "val"))
    assert not groups & other
    with_val = [*rows, *make_thing("cat/v", split="dev")]
    with (
        tempfile.TemporaryDirectory() as folder,
        pytest.raises(InputError, match="names val as the split of 1 samples"),
    ):
        align(params, open_aligned(Path(folder), with_val))


def test_labels_are_renamed_before_they_are_compared() -> None:
    rows = [*make_thing("kitten/1"), *make_thing("cat/2"), *make_thing("dog/3"), *make_thing("bird/4")]
    params = make_align_params(labels={"kitten": "cat", "dog": "cat", "fish": "fish"}, classes=["cat"])
    plan = plan_samples(rows, params)
    assert sorted(placed.sample.label or "" for placed in plan.samples) == ["cat", "cat", "cat"]
    assert {(drop.reason, drop.value, drop.setting) for drop in plan.drops} == {
        ("unknown_label", "bird", "align.classes")
    }
