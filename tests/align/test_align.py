"""align puts every item into one sample or drops it, compares whole samples for duplicates, and keeps splits stable."""

import hashlib
import random
from collections import Counter
from itertools import combinations
from pathlib import Path
from typing import Any
from unicodedata import normalize

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.align.name_samples import make_key
from pipeline.align.params import AlignParams, Shares
from pipeline.align.split_quotas import FEWEST, choose_split, sum_shares
from pipeline.align.step import align
from pipeline.errors import InputError, PipelineError, TooManyDrops
from pipeline.tables.columns import Row
from pipeline.tables.contracts import ALIGNED_PARTS, ALIGNED_SAMPLES, DROPPED, INGESTED_ITEMS, PARTS, SAMPLES
from pipeline.tables.item_names import name_item
from pipeline.tables.table_files import check_reference, read_table
from tests.align.reference import PlacedSample, Plan
from tests.align.reference_samples import check_span
from tests.align.test_reference import POLICIES, mark_clusters
from tests.support.aligning import open_aligned, plan_samples
from tests.support.item_rows import ENDINGS, NO_PATTERNS, make_align_params, make_item, make_thing

MODALITIES = tuple(ENDINGS)
SUBSETS = [subset for n in (1, 2, 3) for subset in combinations(MODALITIES, n)]


def find_reasons(plan: Plan) -> dict[str, str]:
    return {drop.key: str(drop.reason) for drop in plan.drops}


def find_sample(plan: Plan, stem: str) -> PlacedSample:
    (placed,) = (p for p in plan.samples if p.sample.key.startswith(stem.replace("/", "-") + "-"))
    return placed


def name_stems(plan: Plan) -> list[str]:
    return sorted(placed.sample.key.rpartition("-")[0] for placed in plan.samples)


def draw_rows(rng: random.Random, count: int) -> list[Row]:
    """Draw items of few samples: missing and extra partners, duplicates, groups, conflicting labels and splits."""
    rows = {}
    for _ in range(count):
        row = make_item(
            rng.choice(MODALITIES),
            f"{rng.choice(['cat', 'dog', ''])}/{rng.randrange(4)}",
            source=rng.choice(["folder", "a.test", "b.test"]),
            part=rng.choice(["", "", "en"]),
            group=rng.choice([None, None, None, "g1", "g2"]),
            split=rng.choice([None, "train", "train", "dev", "test"]),
            label=rng.choice([None, "cat", "dog"]),
            page_label=rng.choice([None, "cat", "cow"]),
            sample=rng.choice([None, "s1", "s2", "s3"]),
            page=rng.choice([None, "http://a.test/1", "http://b.test/1", "http://b.test/2?x=1"]),
        )
        rows[row["id"]] = row
    return mark_clusters(sorted(rows.values(), key=lambda row: str(row["id"])), rng)


CHANGES = st.fixed_dictionaries(
    {
        "by": st.sampled_from(["page", "pattern", "table"]),
        "label": st.sampled_from(["none", "path", "column", "page"]),
        "split": st.sampled_from(["hash", "column"]),
        "min_samples": st.integers(1, 3),
        "within": st.sampled_from([None, ["folder", "a.test"]]),
        "modalities__audio__required": st.booleans(),
        "modalities__image__part": st.sampled_from([None, "en"]),
        "duplicates": st.builds(
            lambda policies, share: {"exact": policies[0], "near": policies[1], "share_split": share},
            st.sampled_from(POLICIES),
            st.sampled_from(["any", "all"]),
        ),
    }
)


@given(st.randoms(use_true_random=False), st.integers(0, 120), CHANGES)
@settings(max_examples=12)
def test_every_item_is_in_one_sample_or_has_one_drop(rng: random.Random, count: int, changes: dict[str, Any]) -> None:
    params = make_align_params(**changes)
    rows = draw_rows(rng, count)
    plan = plan_samples(rows, params)
    used = [name_item(part.row) for placed in plan.samples for part in placed.sample.items]
    assert sorted(used + [drop.key for drop in plan.drops]) == sorted(map(name_item, rows))
    for placed in plan.samples:
        assert set(params.modalities.required) <= set(placed.sample.parts)
    for one, other in combinations(plan.samples, 2):
        check_pair(one, other, params)


def check_pair(one: PlacedSample, other: PlacedSample, params: AlignParams) -> None:
    """Check that no duplicates under `drop` are left, and that tied samples are in one group and one split."""
    names = [{part.group for part in placed.sample.items} - {None} for placed in (one, other)]
    tied = bool(names[0] & names[1])
    policies = params.duplicates
    for policy, column in ((policies.exact, "exact_cluster"), (policies.near, "near_cluster")):
        clusters = [{part.part: part.row[column] for part in each.sample.items} for each in (one, other)]
        shared = [m for m in MODALITIES if m in clusters[0] and clusters[0][m] == clusters[1].get(m)]
        whole = set(params.modalities.required) <= set(shared)
        assert not (whole and policy == "drop")
        tied |= policy != "keep" and (whole if policies.share_split == "all" else bool(shared))
    if tied:
        assert (one.group, one.split) == (other.group, other.split)


@given(st.randoms(use_true_random=False), st.integers(1, 40), st.sampled_from(["any", "all"]))
@settings(max_examples=3)
def test_new_samples_move_no_sample_that_they_are_not_tied_to(rng: random.Random, added: int, share_split: str) -> None:
    params = make_align_params(duplicates__share_split=share_split)
    old = mark_clusters([row for n in range(80) for row in make_thing(f"cat/{n}")], random.Random(1), of=3200)
    new = [row for n in range(added) for row in make_thing(f"cat/new{n}", group=rng.choice([None, "new"]))]
    before, after = plan_samples(old, params), plan_samples(rng.sample(old + new, len(old + new)), params)
    assert len({placed.group for placed in before.samples}) >= FEWEST  # of fewer each may move
    kept = {placed.sample.key: placed for placed in after.samples}
    assert all(kept[placed.sample.key] == placed for placed in before.samples)
    assert len(after.samples) == len(before.samples) + added


def test_shares_are_met_and_another_salt_assigns_anew() -> None:
    shares = Shares(train=0.7, val=0.1, test=0.2)
    groups = [f"group-{n}" for n in range(20_000)]
    assigned = [choose_split(group, sum_shares(list(shares)), "0") for group in groups]
    counts = Counter(assigned)
    assert all(abs(counts[split] / len(groups) - share) < 0.01 for split, share in shares)
    again = [choose_split(group, sum_shares(list(shares)), "1") for group in groups]
    assert sum(a != b for a, b in zip(assigned, again, strict=True)) > 0.4 * len(groups)
    assert {choose_split(group, sum_shares(list(Shares(train=1.0, val=0.0, test=0.0))), "0") for group in groups} == {
        "train"
    }
    assert {choose_split(group, sum_shares(list(Shares(train=0.5, val=0.5, test=0.0))), "0") for group in groups} == {
        "train",
        "val",
    }


@pytest.mark.parametrize("subset", SUBSETS, ids="+".join)
def test_any_subset_of_the_modalities_aligns(subset: tuple[str, ...]) -> None:
    full = make_align_params()
    rules = {name: rule.model_dump() for name, rule in full.modalities.selected.items() if name in subset}
    rows = [row for n in range(30) for row in make_thing(f"cat/{n}")]
    plan = plan_samples(rows, make_align_params(modalities=rules))
    assert [tuple(placed.sample.parts) for placed in plan.samples] == [subset] * 30
    assert {str(drop.reason) for drop in plan.drops} == ({"not_selected"} if len(subset) < 3 else set())
    assert len(plan.drops) == 30 * (3 - len(subset))


def test_a_folder_and_a_crawl_give_the_same_keys_and_splits() -> None:
    params = make_align_params()
    folder = plan_samples([row for n in range(30) for row in make_thing(f"cat/{n}")], params)
    crawl = plan_samples([row for n in range(30) for row in make_thing(f"cat/{n}", source="media.test")], params)
    assert [(p.sample.key, p.group, p.split) for p in folder.samples] == [
        (p.sample.key, p.group, p.split) for p in crawl.samples
    ]
    page = [make_item(m, "x", page="https://a.test/things/1.html", source="a.test") for m in MODALITIES]
    assert [
        p.sample.key
        for p in plan_samples(page, make_align_params(by="page", label="none", modalities=NO_PATTERNS)).samples
    ] == [make_key("things/1.html")]


def test_a_pattern_matches_a_name_in_either_form_of_unicode() -> None:
    pattern = {"required": True, "pattern": r"(?P<key>café/[^/]+)\.png", "part": None}
    params = make_align_params(modalities={"image": pattern}, label="none")
    rows = [make_item("image", normalize(form, f"café/{form}")) for form in ("NFC", "NFD")]
    plan = plan_samples(rows, params)
    assert len(plan.samples) == 2
    assert not plan.drops


def test_pages_of_one_path_on_two_hosts_are_two_samples() -> None:
    rows = [
        make_item(m, "x", page=f"http://{host}/1", source=host) for m in MODALITIES for host in ("b.test", "a.test")
    ]
    plan = plan_samples(rows, make_align_params(by="page", label="none", modalities=NO_PATTERNS))
    assert len({placed.sample.key for placed in plan.samples}) == 2
    alone = plan_samples(
        [row for row in rows if row["source"] == "a.test"],
        make_align_params(by="page", label="none", modalities=NO_PATTERNS),
    )
    assert alone.samples[0].sample.key in {placed.sample.key for placed in plan.samples}


def test_a_table_gives_samples_and_time_spans() -> None:
    rows = [make_item("image", "a", sample="one"), make_item("audio", "b", sample="one", start=1.5, end=2.0)]
    rows += [make_item("text", "c", sample="one"), make_item("text", "d")]
    plan = plan_samples(rows, make_align_params(by="table", label="none", modalities=NO_PATTERNS))
    assert name_stems(plan) == ["one"]
    assert find_reasons(plan) == {"folder:d.txt": "not_selected"}


def test_partners_that_are_missing_or_too_many_are_named() -> None:
    rows = [*make_thing("cat/whole"), make_item("image", "cat/lone"), make_item("text", "cat/whole", part="es")]
    plan = plan_samples(rows, make_align_params())
    details = {drop.key: (str(drop.reason), drop.detail) for drop in plan.drops}
    assert details == {
        "folder:cat/lone.png": ("missing_partner", "its sample has no audio and no text"),
        "folder:cat/whole.txt#es": ("extra_item", "its sample already has text: folder:cat/whole.txt"),
    }
    optional = make_align_params(modalities__audio__required=False, modalities__text__required=False)
    assert name_stems(plan_samples(rows, optional)) == ["cat-lone", "cat-whole"]


def test_labels_must_be_clear() -> None:
    rows = [
        *make_thing("a/1", label="cat"),
        *make_thing("a/2"),
        *(make_item(m, "a/3", label=label) for m, label in zip(MODALITIES, ("cat", None, "dog"), strict=True)),
        *(make_item(m, "a/4", label=label) for m, label in zip(MODALITIES, (None, None, " cat "), strict=True)),
        *make_thing("a/5", label="cow"),
        *make_thing("a/6", label="dog"),
    ]
    plan = plan_samples(rows, make_align_params(label="column", classes=["cat", "dog"], min_samples=2))
    assert {placed.sample.label for placed in plan.samples} == {"cat"}
    assert name_stems(plan) == ["a-1", "a-4"]
    reasons = Counter(find_reasons(plan).values())
    assert reasons == {"missing_label": 3, "ambiguous_label": 3, "unknown_label": 3, "rare_label": 3}


def test_a_sample_repeats_another_only_if_all_its_required_parts_do() -> None:
    whole = make_thing("a/first")
    copy = [{**row, "exact_cluster": first["id"], "near_cluster": first["id"]}
            for row, first in zip(make_thing("a/second"), whole, strict=True)]  # fmt: skip
    partly = [{**row, "exact_cluster": first["id"], "near_cluster": first["id"]} if row["modality"] == "text" else row
              for row, first in zip(make_thing("a/third"), whole, strict=True)]  # fmt: skip
    plan = plan_samples(whole + copy + partly, make_align_params())
    assert name_stems(plan) == ["a-first", "a-third"]
    assert set(find_reasons(plan).values()) == {"duplicate"}
    assert {drop.kept_key for drop in plan.drops} == {find_sample(plan, "a/first").sample.key}
    assert find_sample(plan, "a/third").group == find_sample(plan, "a/first").group
    apart = plan_samples(whole + copy + partly, make_align_params(duplicates__share_split="all"))
    assert find_sample(apart, "a/third").group != find_sample(apart, "a/first").group
    near = [{**row, "exact_cluster": row["id"]} for row in copy]
    assert name_stems(plan_samples(whole + near, make_align_params())) == ["a-first", "a-second"]
    dropped = plan_samples(whole + near, make_align_params(duplicates__near="drop"))
    assert set(find_reasons(dropped).values()) == {"near_duplicate"}


def test_splits_from_the_data_never_divide_a_group() -> None:
    rows = [
        *make_thing("a/1", split="Train"),
        *make_thing("a/2", split="validation"),
        *make_thing("a/3", split="train", group="speaker"),
        *make_thing("a/4", split="test", group="speaker"),
        *make_thing("a/5"),
        *(make_item(m, "a/6", split=split) for m, split in zip(MODALITIES, ("train", "test", None), strict=True)),
    ]
    plan = plan_samples(rows, make_align_params(split="column"))
    placed = {p.sample.key.rpartition("-")[0]: (p.split, p.group == "speaker") for p in plan.samples}
    assert placed == {"a-1": ("train", False), "a-2": ("val", False), "a-4": ("test", True)}
    assert Counter(find_reasons(plan).values()) == {"ambiguous_split": 6, "missing_split": 3}
    with pytest.raises(InputError, match=r"folder:a/1\.png: its split is 'tset'; it must be one of train"):
        plan_samples(make_thing("a/1", split="tset"), make_align_params(split="column"))


def test_a_duplicate_is_kept_in_the_test_split_and_a_dropped_sample_replaces_none() -> None:
    first = make_thing("a/1", split="train")
    copies = [
        [
            {**row, "exact_cluster": same["id"], "near_cluster": same["id"]}
            for row, same in zip(copy, first, strict=True)
        ]
        for copy in (make_thing("a/0"), make_thing("a/2", split="test"))
    ]
    plan = plan_samples([*first, *copies[0], *copies[1]], make_align_params(split="column"))
    assert [(p.sample.key.rpartition("-")[0], p.split) for p in plan.samples] == [("a-2", "test")]
    assert Counter(find_reasons(plan).values()) == {"missing_split": 3, "duplicate": 3}


def test_label_group_and_split_may_come_from_the_path() -> None:
    pattern = r"(?P<split>[a-z]+)/(?P<key>(?P<label>\w+)_(?P<group>\w+)_\d)\.{}"
    rules = {m: {"required": True, "pattern": pattern.format(e), "part": None} for m, e in ENDINGS.items()}
    rows = [row for stem in ("train/owl_ann_1", "train/owl_ann_2", "test/cat_bob_1") for row in make_thing(stem)]
    plan = plan_samples(rows, make_align_params(modalities=rules, split="path"))
    found = [(placed.sample.label, placed.group, placed.split) for placed in plan.samples]
    assert sorted(found) == [("cat", "bob", "test"), ("owl", "ann", "train"), ("owl", "ann", "train")]


def test_the_step_writes_samples_and_drops(tmp_path: Path) -> None:
    rows = [row for n in range(30) for row in make_thing(f"cat/{n}")]
    rows += [make_item("audio", "cat/31", start=0.5, end=1.0), *make_thing("cat/32")[::2]]
    workspace = open_aligned(tmp_path, rows)
    outcome = align(make_align_params(modalities__audio__required=False), workspace)
    outcome.check()
    assert (outcome.seen, outcome.kept, outcome.dropped.total) == (93, 92, 1)
    assert outcome.notes[0].startswith("31 samples: train ")
    samples = read_table(workspace.work / ALIGNED_SAMPLES, SAMPLES)
    hashes = [(row["split"], hashlib.sha256(row["key"].encode()).hexdigest()) for row in samples]
    assert hashes == sorted(hashes)
    assert {row["label"] for row in samples} == {"cat"}
    parts = read_table(workspace.work / ALIGNED_PARTS, PARTS)
    assert [(row["sample"], MODALITIES.index(row["part"])) for row in parts] == sorted(
        (row["sample"], MODALITIES.index(row["part"])) for row in parts
    )
    (lone,) = (number for number, row in enumerate(samples) if row["key"] == make_key("cat/32"))
    assert [row["part"] for row in parts if row["sample"] == lone] == ["image", "text"]
    check_reference(workspace.work / ALIGNED_PARTS, INGESTED_ITEMS, workspace.data / INGESTED_ITEMS)
    check_reference(workspace.work / ALIGNED_PARTS, ALIGNED_SAMPLES, workspace.work / ALIGNED_SAMPLES)
    (dropped,) = read_table(workspace.work / "4_aligned/dropped", DROPPED)
    assert (dropped["key"], dropped["reason"], dropped["unit"]) == ("folder:cat/31.ogg", "missing_partner", "item")


def test_time_spans_reach_the_samples(tmp_path: Path) -> None:
    rows = [row for n in range(9) for row in make_thing(f"cat/{n}", sample=str(n), start=n / 2, end=n + 1.0)]
    workspace = open_aligned(tmp_path, rows)
    align(make_align_params(by="table"), workspace)
    parts = read_table(workspace.work / ALIGNED_PARTS, PARTS)
    assert {(row["start"], row["end"]) for row in parts} == {(n / 2, n + 1.0) for n in range(9)}


@pytest.mark.parametrize(
    ("start", "end", "fits"),
    [(None, None, True), (0.0, 2.0, True), (1.5, None, True), (None, 2.05, True), (-0.1, 1.0, False), (1.0, 1.0, False),
     (2.0, None, False), (0.0, 2.2, False), (float("nan"), 1.0, False), (0.0, float("nan"), False)],
)  # fmt: skip
def test_a_time_span_lies_within_its_recording(start: float | None, end: float | None, fits: bool) -> None:
    item = make_item("audio", "cat/1", start=start, end=end, frames=16000, sample_rate=8000)
    assert (check_span(item) is None) == fits


def test_unselected_items_do_not_count_as_drops(tmp_path: Path) -> None:
    rows = [row for n in range(30) for row in make_thing(f"cat/{n}")]
    texts = {"text": make_align_params().modalities.selected["text"].model_dump()}
    align(make_align_params(modalities=texts, max_dropped=0.0), open_aligned(tmp_path, rows))
    workspace = open_aligned(tmp_path / "b", [*rows, *make_thing("cat/31")[:2]])
    with pytest.raises(
        TooManyDrops, match=r"align\.max_dropped is 0\.01, but 2 of 92 items .* dropped: 2 missing_partner"
    ):
        align(make_align_params(max_dropped=0.01), workspace)


def test_a_group_of_most_samples_is_an_error(tmp_path: Path) -> None:
    rows = [row for n in range(30) for row in make_thing(f"cat/{n}", group="all" if n < 10 else None)]
    with pytest.raises(
        PipelineError, match=r"align\.max_group is 0\.2, but the group 'all' holds 10 of 30 samples \(33%\)"
    ):
        align(make_align_params(), open_aligned(tmp_path, rows))
    align(make_align_params(max_group=0.4), open_aligned(tmp_path / "b", rows))


def test_an_empty_train_split_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"none of 0 samples is in train, items dropped: 3 not_selected; look at align\.modalities"
    ):
        align(make_align_params(), open_aligned(tmp_path, make_thing("no-folder")))
