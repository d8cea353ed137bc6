"""Hold the SQL of `align` to its reference in Python: the same samples and the same drops, whatever the settings."""

import random
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any
from unicodedata import normalize

from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from pipeline.align.params import AlignParams
from pipeline.errors import InputError, ParamsError
from pipeline.tables.columns import Row
from tests.align import reference
from tests.align.reference import Plan
from tests.support.aligning import plan_samples
from tests.support.item_rows import ENDINGS, make_align_params, make_item

MODALITIES = tuple(ENDINGS)
POLICIES = [
    ("drop", "drop"),
    ("drop", "group"),
    ("drop", "keep"),
    ("group", "group"),
    ("group", "keep"),
    ("keep", "keep"),
]
PATTERN = r"(?:(?P<split>tr|train|test|dev)/)?(?P<key>(?P<label>[^/]*)/(?P<group>[^/]?)[^/]*)\.{}"

RULES = st.fixed_dictionaries(
    {
        "required": st.sampled_from([True, True, False]),
        "pattern": st.sampled_from([PATTERN, r"(?P<label>c.*)?(?P<key>.*)\.{}", None, None, None]),
        "part": st.sampled_from([None] * 8 + ["", "en", "caption"]),
    }
)
PARTS = st.builds(
    lambda rule, more: rule | more,
    RULES,
    st.fixed_dictionaries(
        {"modality": st.sampled_from(MODALITIES), "many": st.sampled_from(["one", "first", "each", "all", "join"])}
    ),
)
CHANGES = st.fixed_dictionaries(
    {
        "by": st.sampled_from(["page", "pattern", "table", "file"]),
        "modalities": st.one_of(
            st.just({}), st.dictionaries(st.sampled_from([*MODALITIES, "video"]), RULES, min_size=1, max_size=4)
        ),
        "parts": st.one_of(
            st.just({}),
            st.dictionaries(
                st.sampled_from(["photo", "narration", "question", "answer", "text", "last"]), PARTS, min_size=1
            ),
        ),
        "label": st.sampled_from(["none", "path", "column", "page"]),
        "classes": st.sampled_from([None, None, ["cat", "dog"]]),
        "split": st.sampled_from(["hash", "hash", "path", "column"]),
        "ambiguous_labels": st.sampled_from(["drop", "drop", "keep"]),
        "min_samples": st.integers(1, 3),
        "within": st.sampled_from([None, None, ["folder", "a.test"], ["b.test"]]),
        "salt": st.sampled_from(["0", "1"]),
        "duplicates": st.builds(
            lambda policies, share: {"exact": policies[0], "near": policies[1], "share_split": share},
            st.sampled_from(POLICIES),
            st.sampled_from(["any", "all"]),
        ),
    }
)


def draw_rows(rng: random.Random, count: int) -> list[Row]:
    """Draw items of few samples, with whatever a table may hold: nulls, other forms of Unicode, spans, hosts.

    With a chance that is drawn too, an item contradicts the others of its sample in a value.
    """
    noise, spans = rng.choice([0.0, 0.02, 0.2]), rng.choice([0.0, 0.0, 0.8])
    folders = rng.choice([["cat", "dog", ""], ["cat"], ["train/cat", "test/dog", "dev/cat", "café"]])
    splits = rng.choice([["train", "Train", "dev", "test", " Valid "], ["train"], ["train", "test"], ["test", "tset"]])
    choices: dict[str, list[Any]] = {
        "stem": [f"{rng.choice(folders)}/{rng.choice('äb ')}{number}" for number in range(9)],
        "source": ["folder", "folder", "a.test", "b.test"],
        "part": rng.choice([["", "", "en"], ["", "caption", "caption.2", "caption.10", "/u1", "caption.2/u1", "/u2"]]),
        "group": [None, None, None, None, None, "", " g1", "g2 ", "é", normalize("NFD", "é")],
        "split": splits,
        "label": ["cat", "dog ", "cat", "cow"],
        "page_label": ["cat", "cat", "cow"],
        "sample": ["s1", "s2 ", "sé", normalize("NFD", "sé"), "s3", "s4", "s5"],
        "page": [f"http://{host}.test/{path}" for host in "abc" for path in ("1", "2?x=1", "%C3%A4/", "cat/ä.html")],
        "url": [None, "", "http://a.test/1", "http://a.test/3"],
    }
    things = [{name: rng.choice(values) for name, values in choices.items()} for _ in range(12)]
    rows = {}
    for _ in range(count):
        values = dict(rng.choice(things))
        for name in choices:
            if rng.random() < noise:
                values[name] = rng.choice(
                    [*choices[name], *(["", None] if name not in ("stem", "source", "part") else [])]
                )
        if rng.random() < max(noise, spans):
            values |= draw_span(rng)
        row = make_item(rng.choice(MODALITIES), normalize(rng.choice(["NFC", "NFD"]), values.pop("stem")), **values)
        rows[row["id"]] = row
    return mark_clusters(sorted(rows.values(), key=lambda row: str(row["id"])), rng)


def draw_span(rng: random.Random) -> dict[str, Any]:
    edges = [None, 0.0, -0.0, 0.5, 1.0, 2.0, 2.05, 2.1, 2.2, -1.0, float("nan"), float("inf")]
    return {
        "start": rng.choice(edges),
        "end": rng.choice(edges),
        "frames": rng.choice([None, 0, 16_000]),
        "sample_rate": rng.choice([None, 0, 8_000]),
    }


def mark_clusters(rows: list[Row], rng: random.Random, of: int = 4) -> list[Row]:
    """Draw exact clusters within near clusters, named by their smallest id, in each modality."""
    marked = {}
    for modality in MODALITIES:
        items = [row for row in rows if row["modality"] == modality]
        exact = {row["id"]: rng.randrange(of) for row in items}
        for row in items:
            same = [r["id"] for r in items if exact[r["id"]] == exact[row["id"]]]
            near = [r["id"] for r in items if exact[r["id"]] // 2 == exact[row["id"]] // 2]
            marked[row["id"]] = {**row, "exact_cluster": min(same), "near_cluster": min(near)}
    return [marked[row["id"]] for row in rows]


def choose_params(changes: dict[str, Any]) -> AlignParams | None:
    """Return the params, None where they contradict each other."""
    parts = {name: _finish_rule(rule, rule["modality"], changes["by"]) for name, rule in changes["parts"].items()}
    for rule in parts.values():
        if rule["many"] in ("all", "join"):
            rule["most"] = 2
    rules = (
        {} if parts else {name: _finish_rule(rule, name, changes["by"]) for name, rule in changes["modalities"].items()}
    )
    try:
        return make_align_params(**changes | {"modalities": rules, "parts": parts})
    except ParamsError:
        return None


def _finish_rule(rule: dict[str, Any], modality: str, by: str) -> dict[str, Any]:
    """Return the rule with a pattern where it needs one, and with the modality's ending in it."""
    pattern = rule["pattern"] or (PATTERN if by == "pattern" else None)
    return rule | {"pattern": pattern and pattern.replace("{}", ENDINGS.get(modality, "avi"))}


def show_plan(plan: Plan) -> tuple[Any, ...]:
    samples = [
        (
            each.sample.key,
            each.sample.label,
            each.group,
            each.split,
            [(item.part, item.row["id"]) for item in each.sample.items],
        )
        for each in plan.samples
    ]
    return sorted(samples, key=repr), sorted(map(repr, plan.drops))


@given(st.randoms(use_true_random=True), st.integers(0, 80), st.sampled_from([1, 2, 20]), CHANGES)
@settings(
    max_examples=30,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.filter_too_much],
)  # to shrink an example takes minutes
def test_sql_plans_as_the_reference(rng: random.Random, count: int, clusters: int, changes: dict[str, Any]) -> None:
    params = choose_params(changes)
    assume(params is not None)
    assert params is not None
    rows = mark_clusters(draw_rows(rng, count), rng, of=clusters * 2)
    lost = [row for row in draw_rows(rng, 10) if row["id"] not in {each["id"] for each in rows}]
    expected = find_outcome(reference.plan_samples, rows, params)
    assert find_outcome(partial(plan_samples, lost=lost), rows, params) == expected


def find_outcome(
    plan: Callable[[Sequence[Row], AlignParams], Plan], rows: Sequence[Row], params: AlignParams
) -> object:
    """Return the samples and drops, or the error."""
    try:
        return show_plan(plan(rows, params))
    except InputError as error:
        return str(error)
