"""What a page embeds is found as a browser would show it, once, in the best form that is offered."""

import hypothesis.strategies as st
import pytest
from hypothesis import given
from selectolax.lexbor import LexborHTMLParser

from pipeline.formats.page_media import MEDIA, choose_candidate, find_base, list_embeds


def list_references(html: str) -> list[str]:
    nodes = LexborHTMLParser(html).css(MEDIA)
    return [embed.reference for node in nodes for embed in list_embeds(node)]


@pytest.mark.parametrize(
    ("html", "references"),
    [
        ("<img src=a.png>", ["a.png"]),
        ("<img src='a b.png '>", ["a b.png"]),
        ("<img alt=nothing>", []),
        ("<img src='data:image/gif;base64,R0' data-src=b.png>", ["b.png"]),
        ("<img src=blank.gif data-original=c.png>", ["c.png"]),
        ("<img src=small.jpg srcset='medium.jpg 640w, large.jpg 1280w'>", ["large.jpg"]),
        ("<img src=small.jpg srcset='large.jpg 2x, medium.jpg 1.5x'>", ["large.jpg"]),
        ("<img src=small.jpg data-srcset='lazy.jpg 900w' srcset='blank.gif 1w'>", ["lazy.jpg"]),
        ("<img src=small.jpg srcset='huge.jpg 9000w, large.jpg 2048w'>", ["large.jpg"]),
        ("<img src=small.jpg srcset='a,b.jpg 1x,  c.jpg 2x'>", ["c.jpg"]),
        ("<picture><source srcset=p.avif><img src=p.jpg></picture>", ["p.jpg"]),
        ("<picture><source srcset='p.webp 1x, q.webp 2x'><source srcset=r.png><img alt=x></picture>", ["q.webp"]),
        ("<video poster=still.jpg><source src=a.mp4><source src=a.webm></video>", ["still.jpg", "a.mp4", "a.webm"]),
        ("<audio src=a.ogg></audio><audio data-src=b.ogg></audio>", ["a.ogg", "b.ogg"]),
        ("<input type=image src=button.png><input src=none.png>", ["button.png"]),
        ("<noscript><img src=a.png></noscript>", ["a.png"]),
    ],
)
def test_the_best_form_of_each_is_found(html: str, references: list[str]) -> None:
    assert list_references(html) == references


def test_the_image_of_a_whole_page_is_found() -> None:
    html = (
        '<head><meta property="og:image" content="https://a.test/i.png"><meta property="og:title" content="T"></head>'
    )
    assert list_references(html) == ["https://a.test/i.png"]


@given(st.text(alphabet="ab, \t1x2w.:/", max_size=60))
def test_any_srcset_gives_one_of_its_words_or_nothing(srcset: str) -> None:
    chosen = choose_candidate(srcset)
    assert chosen is None or (chosen in srcset and not any(space in chosen for space in " \t"))


def test_a_long_srcset_takes_linear_time() -> None:
    assert choose_candidate("a," * 200_000) is not None
    assert choose_candidate("a 1w," * 100_000) == "a"
    assert choose_candidate("," * 200_000) is None


@pytest.mark.parametrize(
    ("head", "base"),
    [
        ("", "http://a.test/p/"),
        ("<base href=/q/>", "http://a.test/q/"),
        ("<base href='http://['>", "http://a.test/p/"),
    ],
)
def test_references_are_relative_to_the_base(head: str, base: str) -> None:
    assert find_base(LexborHTMLParser(f"<head>{head}</head>"), "http://a.test/p/") == base
