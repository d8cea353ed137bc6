"""The block `align` refuses what cannot work; keys of samples are readable and what a shard takes."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.align.build_samples import make_key
from pipeline.errors import ParamsError
from tests.support.item_rows import make_align_params


@given(st.text(max_size=80))
def test_keys_are_what_a_shard_takes(material: str) -> None:
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


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"modalities__image__pattern": "(?P<key>.+"}, "a regular expression: missing \\)"),
        ({"modalities__image__pattern": "(?P<name>.+)"}, "named groups are among key, label, group, split, not name"),
        ({"modalities__image__pattern": None}, "every pattern has a group .* also of image"),
        ({"split": "path"}, r"`align.split` is 'path', .* a pattern of align.modalities has a group \(\?P<split>"),
        ({"shares__train": 0.5}, "add up to 1, not 0.8"),
        ({"duplicates__near": "drop", "duplicates__exact": "keep"}, "`exact` is at least as strict as `near`"),
        ({"modalities": {"smell": None}}, "`align.modalities.smell` is not a known key"),
        ({"modalities": {}}, "at least one modality"),
        ({"label": "none", "classes": ["a"]}, "null where align.label is none"),
        ({"by": "name"}, "'page', 'pattern' or 'table'"),
    ],
)
def test_wrong_params_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        make_align_params(**changes)
