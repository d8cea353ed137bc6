"""Parts of samples have names, rules, and one item or several."""

import re
from itertools import chain
from typing import Any

import pytest

from pipeline.align.name_samples import make_key
from pipeline.align.params import AlignParams
from pipeline.config.check_params import check_block
from pipeline.errors import ParamsError
from pipeline.tables.columns import Row
from pipeline.tables.item_names import name_item
from tests.align.reference import PlacedSample, Plan
from tests.support.aligning import plan_samples
from tests.support.item_rows import make_item, make_thing

PAGE = "http://a.test/cat.html"


def make_params(parts: dict[str, Any], **changes: Any) -> AlignParams:
    return check_block({"align": {"parts": parts, "max_dropped": 1.0, **changes}}, "align", AlignParams)


def make_texts(*files: str, page: str = PAGE, **values: Any) -> list[Row]:
    return [make_item("text", file, page=page, **values) for file in files]


def list_files(placed: PlacedSample) -> dict[str, list[str]]:
    return {name: [item.row["file"] for item in items] for name, items in placed.sample.parts.items()}


def list_drops(plan: Plan) -> list[tuple[str, str, str, str]]:
    return [(drop.key, str(drop.reason), drop.setting, drop.limit) for drop in plan.drops]


PHOTO = make_item("image", "cat", page=PAGE)


def test_two_parts_of_one_modality_take_their_items_in_the_order_of_the_params() -> None:
    rows = [PHOTO, *make_texts("cat.q", "cat.a", "cat.other")]
    parts = {
        "answer": {"modality": "text", "pattern": r".+\.a\.txt"},
        "photo": {"modality": "image"},
        "question": {"modality": "text", "pattern": r".+\.[aq]\.txt"},
    }
    plan = plan_samples(rows, make_params(parts))
    (placed,) = plan.samples
    assert list_files(placed) == {"answer": ["cat.a.txt"], "photo": ["cat.png"], "question": ["cat.q.txt"]}
    assert list(placed.sample.parts) == ["answer", "photo", "question"]
    settings = "align.parts.answer.pattern, align.parts.question.pattern"
    assert list_drops(plan) == [("folder:cat.other.txt", "not_selected", settings, r".+\.a\.txt, .+\.[aq]\.txt")]


def test_all_items_are_used_up_to_the_most() -> None:
    rows = [PHOTO, *make_texts("d", "b", "c"), *make_texts("a", source="z.test")]
    parts = {"photo": {"modality": "image"}, "caption": {"modality": "text", "many": "all", "most": 3}}
    plan = plan_samples(rows, make_params(parts))
    (placed,) = plan.samples
    assert list_files(placed) == {"photo": ["cat.png"], "caption": ["b.txt", "c.txt", "d.txt"]}
    (drop,) = plan.drops
    assert (drop.key, drop.setting, drop.limit) == ("z.test:a.txt", "align.parts.caption.most", "3")
    assert drop.detail == "its sample already has 3 of caption: folder:b.txt"


def test_joined_items_are_used_up_to_the_most() -> None:
    rows = [PHOTO, *make_texts("d", "b", "c")]
    parts = {"photo": {"modality": "image"}, "story": {"modality": "text", "many": "join", "most": 2}}
    plan = plan_samples(rows, make_params(parts))
    assert [list_files(placed)["story"] for placed in plan.samples] == [["b.txt", "c.txt"]]
    assert list_drops(plan) == [("folder:d.txt", "extra_item", "align.parts.story.most", "2")]


def test_a_page_with_several_items_of_a_part_is_ambiguous() -> None:
    blocks: tuple[dict[str, Any], ...] = (
        {"parts": {"photo": {"modality": "image"}, "text": {}}},
        {"modalities": {"image": {}, "text": {}}},
    )
    for block in blocks:
        params = check_block({"align": {"max_dropped": 1.0, **block}}, "align", AlignParams)
        plan = plan_samples([PHOTO, *make_texts("b", "a")], params)
        assert plan.samples == []
        setting = "align.parts.text.many" if "parts" in block else "align.parts"
        assert {(drop.reason, drop.value, drop.setting) for drop in plan.drops} == {("ambiguous_item", "2", setting)}
        assert len(plan.drops) == 3


def test_the_first_item_is_used_where_params_say_so() -> None:
    params = make_params({"photo": {"modality": "image"}, "text": {"many": "first"}})
    plan = plan_samples([PHOTO, *make_texts("b", "a")], params)
    (placed,) = plan.samples
    assert list_files(placed) == {"photo": ["cat.png"], "text": ["a.txt"]}
    assert list_drops(plan) == [("folder:b.txt", "extra_item", "", "1")]


EACH = {"photo": {"modality": "image"}, "question": {"modality": "text", "many": "each"}}


def test_each_item_is_in_a_sample_of_its_own_whose_key_stays_when_others_are_added() -> None:
    rows = [PHOTO, *make_texts("q2", "q3")]
    before = plan_samples(rows, make_params(EACH))
    assert [list_files(placed)["photo"] for placed in before.samples] == [["cat.png"]] * 2
    assert not before.drops
    assert {placed.group for placed in before.samples} == {make_key("cat.html")}
    after = plan_samples([*rows, *make_texts("q1")], make_params(EACH))
    assert len(after.samples) == 3
    assert {place_sample(placed) for placed in before.samples} <= {place_sample(placed) for placed in after.samples}


def place_sample(placed: PlacedSample) -> tuple[str, str, str]:
    return placed.sample.key, placed.group, placed.split


def test_an_item_of_several_samples_is_dropped_only_with_the_last_of_them() -> None:
    rows = [PHOTO, *make_texts("q1", label="cat"), *make_texts("q2")]
    plan = plan_samples(rows, make_params(EACH, label="column"))
    assert [list_files(placed) for placed in plan.samples] == [{"photo": ["cat.png"], "question": ["q1.txt"]}]
    assert list_drops(plan) == [("folder:q2.txt", "missing_label", "align.label", "column")]
    none = plan_samples(rows, make_params(EACH, label="column", classes=["dog"]))
    assert sorted(drop.key for drop in none.drops) == sorted(name_item(row) for row in rows)


def test_samples_of_one_photo_whose_questions_repeat_are_duplicates() -> None:
    first, *others = make_texts("q1", "q2", "q3")
    copy = {**others[0], "exact_cluster": first["id"], "near_cluster": first["id"]}
    plan = plan_samples([PHOTO, first, copy, others[1]], make_params(EACH))
    assert len(plan.samples) == 2
    ((_, reason, setting, _),) = list_drops(plan)
    assert (reason, setting) == ("duplicate", "align.duplicates.exact")


def test_the_short_form_is_that_of_parts_called_after_their_modality() -> None:
    rows = [row for n in range(9) for row in make_thing(f"a/{n}", page=f"https://a.test/{n}")]
    short = check_block({"align": {"modalities": {"image": {}, "text": {}}}}, "align", AlignParams)
    plans = [plan_samples(rows, params) for params in (short, make_params({"image": {}, "text": {}}))]
    placed = [[(place_sample(each), list_files(each)) for each in plan.samples] for plan in plans]
    assert placed[0] == placed[1]


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (
            {"parts": {"text": {}}, "modalities": {"text": {}}},
            "it must be left out, as align.parts names the parts",
        ),
        (
            {"parts": {"caption": {}}},
            "parts.caption.modality is null (the default); it must be image, audio, text or video, as the part is not",
        ),
        ({"parts": {"Caption": {"modality": "text"}}}, "'Caption' is not such a name"),
        ({"parts": {"label": {"modality": "text"}}}, "'label' is not such a name"),
        ({"parts": {"text_length": {"modality": "text"}}}, "'text_length' is not such a name"),
        ({"parts": {"text_count": {"modality": "text"}}}, "'text_count' is not such a name"),
        ({"parts": {"text": {"many": "some"}}}, "parts.text.many"),
        ({"parts": {"text": {"modality": "image"}}}, 'parts.text.modality is "image"; it must be text, as the part is'),
        ({"parts": {"text": {"most": 3}}}, "parts.text.most is 3; it must be left out, as many is one"),
        (
            {"parts": {"text": {"many": "each"}, "photo": {"modality": "image", "many": "each"}}},
            'parts.photo.many is "each"; it must be one, first, all or join, as many of text is each',
        ),
        (
            {"parts": {"photo": {"modality": "image", "many": "join"}}},
            'parts.photo.many is "join"; it must be one, first, each or all, as its items are image: only texts can be',
        ),
        ({"parts": {"audio": {"many": "join"}}}, "it must be one, first, each or all, as its items are audio"),
        ({"parts": {"text": {"many": "all", "joiner": " "}}}, 'parts.text.joiner is " "; it must be left out, as many'),
        ({"parts": {"text": {"joiner": " "}}}, "it must be left out, as many is one"),
        ({"parts": {"text": {"required": False}}}, "at least one part must be required"),
        ({"parts": {"text": {}}, "by": "pattern"}, "parts.text.pattern is null"),
        ({"parts": {"text": {}}, "label": "path"}, "a pattern of align.parts must have the group (?P<label>…)"),
        ({"parts": {"text": {"modality": "smell"}}}, "parts.text.modality"),
    ],
)
def test_wrong_parts_are_errors(block: dict[str, Any], message: str) -> None:
    with pytest.raises(ParamsError, match=re.escape(message)):
        check_block({"align": block}, "align", AlignParams)


def make_figure(name: str, pages: int = 1, side: int = 100, **values: Any) -> Row:
    url = f"http://a.test/img/{name}.png"
    return make_item("image", name, url=url, page=PAGE, pages=pages, all_pages=5, width=side, height=side + 1, **values)


def make_caption(name: str, page: str = "cat", **values: Any) -> Row:
    about = f"http://a.test/img/{name}.png"
    return make_item("text", f"{page}-{name}", page=f"http://a.test/{page}.html", part="alt", about=about, **values)


FIGURES = {"image": {"modality": "image"}, "caption": {"modality": "text", "many": "each"}}


def test_an_image_is_with_its_caption_on_each_page_that_shows_it() -> None:
    rows = [
        make_figure("owl", pages=2, page_label="zoo"),
        make_caption("owl", page_label="bird"),
        make_caption("owl", "night", page_label="bird"),
        make_figure("fox"),
        make_caption("fox", page_label="beast"),
        make_item("text", "cat", page=PAGE, part="main"),
    ]
    plan = plan_samples(rows, make_params(FIGURES, by="figure", label="page"))
    files = sorted(tuple(chain.from_iterable(list_files(placed).values())) for placed in plan.samples)
    assert files == [("fox.png", "cat-fox.txt"), ("owl.png", "cat-owl.txt"), ("owl.png", "night-owl.txt")]
    assert sorted(placed.sample.label or "" for placed in plan.samples) == ["beast", "bird", "bird"]
    assert list_drops(plan) == [("folder:cat.txt#main", "not_selected", "align.by", "figure")]


def test_keys_of_figures_are_those_of_their_images_in_a_folder() -> None:
    plan = plan_samples(
        [make_figure("owl"), make_caption("owl")],
        make_params({**FIGURES, "caption": {"modality": "text"}}, by="figure"),
    )
    assert [placed.sample.key for placed in plan.samples] == [make_key("img/owl.png")]


def test_logos_and_icons_of_a_site_are_left_out() -> None:
    logo = make_figure("logo", pages=3)
    icon = make_figure("icon", side=24)
    rows = [logo, icon, make_figure("owl"), *make_texts("cat")]
    plan = plan_samples(rows, make_params({"image": {}, "text": {}}))
    assert [list_files(placed)["image"] for placed in plan.samples] == [["owl.png"]]
    assert list_drops(plan) == [
        ("folder:icon.png", "page_furniture", "align.min_side", "32"),
        ("folder:logo.png", "page_furniture", "align.max_pages", "0.02"),
    ]
    assert {drop.value for drop in plan.drops} == {"24", "3 of 5"}
