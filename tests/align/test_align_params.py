"""Check that the block `align` refuses what cannot work, and that sample keys are readable and fit a shard."""

import re
from typing import Any
from unicodedata import normalize
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.align.name_samples import find_path, make_key
from pipeline.align.params import AlignParams
from pipeline.config.check_params import check_block
from pipeline.errors import ParamsError
from tests.support.aligning import plan_samples
from tests.support.item_rows import make_align_params, make_item, make_thing


@given(st.text(max_size=80))
def test_keys_fit_into_shards(material: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", make_key(material))


@pytest.mark.parametrize(
    ("material", "stem"),
    [
        ("animals/birds/owl", "animals-birds-owl"),
        ("things/0007-owl.html", "things-0007-owl"),
        ("a b/św. Élan (2)", "a-b-sw-Elan-2"),
        ("dogs/st.bernard", "dogs-st-bernard"),
        ("x/" * 40 + "end", "-".join(["x"] * 24 + ["end"])),
        ("a/" + "b" * 80, "b" * 51),
        ("草/🦉", "sample"),
        ("", "sample"),
    ],
)
def test_keys_are_readable(material: str, stem: str) -> None:
    assert make_key(material).rpartition("-")[0] == stem


@given(st.from_regex(r"\Ahttps?://[a-z.:0-9-]{1,5}(/{1,2}[A-Za-z0-9._~%;?#äü-]{0,4}){0,3}\Z"))
def test_paths_are_those_of_the_url(page: str) -> None:
    try:
        parts = urlsplit(page)
    except ValueError:
        return
    path = unquote(parts.path).lstrip("/")
    assert find_path(page) == normalize("NFC", f"{path}?{parts.query}" if parts.query else path)


PATTERN = r"(?P<key>(?P<label>[^/]+)/.+)\.png"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"modalities__image__pattern": "(?P<key>.+"},
            'modalities.image.pattern is "(?P<key>.+"; it must be a regular expression: missing )',
        ),
        (
            {"modalities__image__pattern": "(?P<name>.+)"},
            "it must be a pattern whose named groups are among key, label, group, split, not name",
        ),
        (
            {"modalities__image__pattern": None},
            "modalities.image.pattern is null; it must have the group (?P<key>…), as align.by is pattern",
        ),
        ({"modalities": {}}, "modalities is an empty mapping; it must name the modalities, with patterns"),
        (
            {"split": "path"},
            'split is "path"; a pattern of align.modalities must have the group (?P<split>…) for it',
        ),
        ({"shares__train": 0.5}, "shares.test is 0.15; train, val and test must add up to 1, not 0.8"),
        ({"shares": {"train": 0.5}}, "shares.train is 0.5; train, val and test must add up to 1, not 0.8"),
        (
            {"duplicates__near": "drop", "duplicates__exact": "keep"},
            'duplicates.exact is "keep"; it must be drop, at least as strict as near (drop)',
        ),
        ({"modalities": {"smell": None}}, "modalities.smell is not a known key; known are image, audio, text, video"),
        ({"modalities": {"imag": None}}, "modalities.imag is not a known key; did you mean image?"),
        (
            {"modalities": {"image": {"required": False, "pattern": PATTERN}}},
            "modalities.image.required is false; at least one modality must be required",
        ),
        ({"label": "none", "classes": ["a"]}, 'classes is ["a"]; it must be null, as align.label is none'),
        ({"by": "name"}, 'by is "name"; it must be page, figure, pattern, table or file'),
    ],
)
def test_wrong_params_are_errors(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ParamsError, match=re.escape(message)) as caught:
        make_align_params(**changes)
    assert str(caught.value).startswith("params.yaml: align.")


def test_a_modality_that_is_named_is_required_and_needs_no_pattern_and_null_is_not_named() -> None:
    named = {"text": {}, "image": {}, "audio": None, "video": {"required": False}}
    params = check_block({"align": {"modalities": named}}, "align", AlignParams)
    assert list(params.modalities.selected) == ["image", "text", "video"]
    assert params.modalities.required == ("image", "text")
    assert all(rule.pattern is None and rule.part is None for rule in params.modalities.selected.values())


@pytest.mark.parametrize("block", [None, {}, {"modalities": None}, {"modalities": {}}])
def test_where_none_is_named_the_modalities_are_those_of_the_data(block: dict[str, Any] | None) -> None:
    params = check_block({"align": block}, "align", AlignParams)
    rows = [row for number in range(9) for row in make_thing(f"a/{number}", page=f"https://a.test/{number}")]
    rows = [row for row in rows if row["modality"] != "audio"]
    other = make_item("audio", "b", page="https://a.test/0", source="elsewhere")
    for items, within in ((rows, None), ([*rows, other], ["folder"])):
        plan = plan_samples(items, params.model_copy(update={"within": within}))
        assert [sorted(each.sample.parts) for each in plan.samples] == [["image", "text"]] * 9
