"""Test that every line of a text file is kept or counted."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.ingest.params import TextLayout
from pipeline.ingest.split_text import split_text
from pipeline.tables.drops import Reason
from tests.support.ingesting import make_params

TAGGED = """A frog.
de.utf8=Ein Frosch.
pt_BR.utf8=Um sapo.
sr@latin=Žaba.
he.utf8=צפרדע
es.utf8=
de=Noch ein Frosch.

not a caption
6x7=42
"""


def split(text: str, layout: TextLayout, **changes: object) -> dict[str, tuple[str, str]]:
    parts = split_text(text, make_params(text=layout, **changes))
    return {part.name: (part.language, part.text) for part in parts.kept}


def count_reasons(text: str, layout: TextLayout, **changes: object) -> Counter[Reason]:
    counts: Counter[Reason] = Counter()
    for rejection, count in split_text(text, make_params(text=layout, **changes)).left_out.items():
        counts[rejection.reason] += count
    return counts


def test_tagged_lines() -> None:
    assert split(TAGGED, "tagged_lines") == {
        "en": ("en", "A frog."),
        "de": ("de", "Ein Frosch."),
        "pt_BR": ("pt_BR", "Um sapo."),
        "sr@latin": ("sr@latin", "Žaba."),
        "he": ("he", "צפרדע"),
    }
    assert count_reasons(TAGGED, "tagged_lines") == {
        Reason.EMPTY: 1, Reason.DUPLICATE: 1, Reason.PART_NOT_SELECTED: 2,
    }  # fmt: skip


def test_languages_are_selected() -> None:
    assert split(TAGGED, "tagged_lines", languages=["de"]) == {"de": ("de", "Ein Frosch.")}
    assert count_reasons(TAGGED, "tagged_lines", languages=["de"])[Reason.PART_NOT_SELECTED] == 6
    assert split("text", "whole", languages=["de"]) == {}
    assert split("text", "whole", languages=["de"], default_language="de") == {"": ("de", "text")}


def test_the_first_line_is_not_read_as_tagged() -> None:
    assert split("de=ten\n", "tagged_lines") == {"en": ("en", "de=ten")}


@pytest.mark.parametrize(
    ("layout", "parts"),
    [
        ("whole", {"": ("en", "one\r\n\r\n two\u2028three")}),
        ("first_line", {"": ("en", "one")}),
        ("lines", {"1": ("en", "one"), "3": ("en", "two\u2028three")}),
        ("tagged_lines", {"en": ("en", "one")}),
    ],
)
def test_layouts(layout: TextLayout, parts: dict[str, tuple[str, str]]) -> None:
    assert split("\ufeffone\r\n\r\n two\u2028three \n", layout) == parts


@given(
    text=st.text(st.sampled_from("ab=\n\r. \u00e9"), max_size=60),
    layout=st.sampled_from(["first_line", "lines", "tagged_lines"]),
)
def test_every_line_with_characters_is_kept_or_counted(text: str, layout: TextLayout) -> None:
    parts = split_text(text, make_params(text=layout))
    first, *others = text.split("\n")
    lines = sum(bool(line.strip()) for line in others) + (bool(first.strip()) or layout != "lines")
    assert len(parts.kept) + parts.left_out.total() == lines
    assert len({part.name for part in parts.kept}) == len(parts.kept)
    assert all(part.text and part.text == part.text.strip() for part in parts.kept)
