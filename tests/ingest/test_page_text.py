"""The whole text of a page: its title, paragraphs and what is said of its images, and nothing that all pages have."""

import re
from pathlib import Path

import pytest

from pipeline.errors import ParamsError
from pipeline.formats.html import parse_html
from pipeline.formats.page_text import read_whole_text
from pipeline.ingest.read_page import check_selectors
from pipeline.tables.drops import Reason
from tests.support.ingesting import Response, make_params, run_ingest

HEADER = '<header><nav><a href="/">Home</a> <a href="/about">About us</a> <a href="/contact">Contact</a></nav></header>'
BANNER = '<div class="cookie-banner"><p>We use cookies to improve your visit.</p><button>Accept all</button></div>'
FOOTER = '<footer><p>© 2024 Birds Ltd. All rights reserved.</p><a href="/imprint">Imprint</a></footer>'

PARAGRAPHS = {
    "en": ["The snowy owl lives in the tundra and hunts lemmings by day.", "It nests on the ground."],
    "de": ["Die Schneeeule lebt in der Tundra und jagt am Tag.", "Sie nistet auf dem Boden, bei Tromsø."],
    "zh": ["雪鸮生活在苔原上，白天捕猎旅鼠。", "它在地上筑巢。"],
    "ar": ["تعيش البومة الثلجية في التندرا وتصطاد القوارض نهارا.", "تعشش على الأرض."],
    "ru": ["Белая сова живёт в тундре и охотится днём.", "Она гнездится на земле."],
}
LAYOUTS = {
    "article": "<main><article><header><h1>{title}</h1></header>{text}</article></main>",
    "div": '<div class="content"><h1>{title}</h1>{text}</div>',
    "wrapper of a banner": '<div class="page has-cookie-banner"><h1>{title}</h1>{text}</div>',
    "form": '<form id="aspnetForm"><div><h1>{title}</h1>{text}</div></form>',
    "bare": "<h1>{title}</h1>{text}",
}


def build_page(body: str, language: str = "en", title: str = "Owls") -> bytes:
    head = f'<meta charset="utf-8"><title>{title} | Birds</title>'
    whole = f"{HEADER}{BANNER}{body}<aside><a href='/more'>More</a></aside>{FOOTER}"
    return f'<!doctype html><html lang="{language}"><head>{head}</head><body>{whole}</body></html>'.encode()


def read(page: bytes) -> str | None:
    return read_whole_text(parse_html(page))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("language", PARAGRAPHS)
def test_title_and_paragraphs_are_the_text(language: str, layout: str) -> None:
    text = "".join(f"<p>{paragraph}</p>" for paragraph in PARAGRAPHS[language])
    found = read(build_page(LAYOUTS[layout].format(title="Owls", text=text), language))
    assert found is not None
    assert found.split("\n") == ["Owls", *PARAGRAPHS[language]]


def test_what_is_said_of_images_stands_where_they_are() -> None:
    first, last = PARAGRAPHS["en"]
    figure = (
        '<figure><img src="a.jpg" alt="An owl on a post"><figcaption>A <b>female</b> in winter</figcaption></figure>'
    )
    inline = f'<p>{last} Its voice <img src="b.png" alt="(loud)"> is heard far away.</p><img src="c.jpg" alt="An egg">'
    found = read(build_page(f"<article><h1>Owls</h1><p>{first}</p>{figure}{inline}</article>"))
    assert found is not None
    assert found.split("\n")[1:] == [
        first,
        "A female in winter",
        f"{last} Its voice (loud) is heard far away.",
        "An egg",
    ]


def test_a_page_without_a_heading_has_the_title_of_its_head() -> None:
    found = read(build_page(f"<article><p>{PARAGRAPHS['en'][0]}</p></article>"))
    assert found == f"Owls | Birds\n{PARAGRAPHS['en'][0]}"


@pytest.mark.parametrize("body", ["", "<h1>Owls</h1>", '<main><nav><a href="/a">a</a></nav></main>'])
def test_of_a_page_of_navigation_nothing_remains(body: str) -> None:
    assert read(build_page(body)) is None


def test_the_text_is_the_same_each_time_and_the_page_unchanged() -> None:
    document = parse_html(build_page(LAYOUTS["div"].format(title="Owls", text="<p>One.</p><p>One.</p>" * 40)))
    before = document.html
    assert len({read_whole_text(document) for _ in range(5)}) == 1
    assert document.html == before


def test_pages_become_texts_or_dropped_rows(tmp_path: Path) -> None:
    pages = {"full": build_page(f"<article><p>{PARAGRAPHS['de'][0]}</p></article>", "de"), "empty": build_page("")}
    responses = [Response(f"https://birds.example/{name}", body) for name, body in pages.items()]
    ran = run_ingest(tmp_path, make_params(page_text="whole"), responses)
    (item,) = ran.rows
    assert (item["part"], item["language"], item["media_type"]) == ("whole", "de", "text/plain")
    (dropped,) = ran.drops
    assert (dropped.reason, dropped.setting) == (Reason.NO_ITEMS, "ingest.page_text")
    assert dropped.key.endswith("empty")


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.ingest.read_page.has_extractor", lambda: False)
    with pytest.raises(ParamsError, match=re.escape('ingest.page_text is "whole", which needs two libraries')):
        check_selectors(make_params(page_text="whole"))
    check_selectors(make_params(page_text="main"))
