"""Labels: the same bytes under two of them, whole numbers in their order, and labels that train lacks."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pipeline.align.step import align
from pipeline.extract.class_order import is_numeric, sort_classes
from pipeline.tables.columns import Row
from tests.support.aligning import open_aligned, plan_samples
from tests.support.item_rows import make_align_params, make_item


def make_images(**names: str) -> list[Row]:
    """An image for each name, a cluster for each value: images with one value have the same bytes."""
    items = {name: make_item("image", name.replace("__", "/")) for name in names}
    first = {value: min(items[name]["id"] for name in names if names[name] == value) for value in names.values()}
    return [row | dict.fromkeys(("exact_cluster", "near_cluster"), first[names[name]]) for name, row in items.items()]


def make_labelled_params(**changes: Any) -> Any:
    rule = {"required": True, "pattern": r"(?P<key>(?P<label>[^/]+)/.+)\..+", "part": None}
    return make_align_params(**{"by": "pattern", "label": "path", "modalities": {"image": rule}} | changes)


IMAGES = {"cat__1": "a", "cat__2": "b", "dog__1": "a", "dog__3": "a", "dog__4": "c", "owl__1": "d", "owl__2": "d"}


def test_the_same_bytes_under_two_labels_have_none() -> None:
    plan = plan_samples(make_images(**IMAGES), make_labelled_params())
    drops = {drop.key: (str(drop.reason), drop.value, drop.detail) for drop in plan.drops}
    ambiguous = {key: facts for key, facts in drops.items() if facts[0] == "ambiguous_label"}
    told = "the same bytes have the label"
    assert ambiguous == {
        "folder:cat/1.png": ("ambiguous_label", "cat", f"{told} 'dog' in folder:dog/1.png"),
        "folder:dog/1.png": ("ambiguous_label", "dog", f"{told} 'cat' in folder:cat/1.png"),
        "folder:dog/3.png": ("ambiguous_label", "dog", f"{told} 'cat' in folder:cat/1.png"),
    }
    assert [facts[0] for facts in drops.values()].count("duplicate") == 1
    assert {drop.setting for drop in plan.drops} == {"align.ambiguous_labels", "align.duplicates.exact"}


def test_ambiguous_labels_may_be_kept() -> None:
    plan = plan_samples(make_images(**IMAGES), make_labelled_params(ambiguous_labels="keep"))
    assert {str(drop.reason) for drop in plan.drops} == {"duplicate"}
    assert {each.sample.label for each in plan.samples} == {"cat", "dog", "owl"}


def test_the_summary_names_labels_that_train_lacks(tmp_path: Any) -> None:
    names = {f"{label}__{number}": f"{label}{number}" for label in ("cat", "dog") for number in range(3)}
    rows = [row | {"split": "test" if row["file"].startswith("dog") else "train"} for row in make_images(**names)]
    workspace = open_aligned(tmp_path, rows)
    notes = align(make_labelled_params(split="column"), workspace).notes
    assert "2 labels, of 3 to 3 samples; train has none of dog" in notes


@given(st.sets(st.integers(-(10**12), 10**12)))
def test_whole_numbers_keep_their_order(numbers: set[int]) -> None:
    classes = sort_classes(map(str, numbers))
    assert list(map(int, classes)) == sorted(numbers)
    assert is_numeric(classes) == bool(numbers)


@given(st.sets(st.text()))
def test_other_labels_are_in_the_order_of_their_characters(labels: set[str]) -> None:
    labels.add("x")
    classes = sort_classes(labels)
    assert list(classes) == sorted(labels)
    assert not is_numeric(classes)
