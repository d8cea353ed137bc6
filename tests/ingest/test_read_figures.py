"""Each image of a page gets the caption that stands with it, by the first rule that finds one."""

from pathlib import Path

import pytest
from selectolax.lexbor import LexborHTMLParser

from pipeline.ingest.read_figures import Figure, number_figures, read_figures
from tests.support.ingesting import Response, make_image, make_params, run_ingest

URL = "http://a.test/manual/start.html"


def read(html: str) -> list[tuple[str, str, str]]:
    figures = read_figures(LexborHTMLParser(f"<body>{html}</body>"), URL)
    return [(figure.image.removeprefix("http://a.test/manual/"), figure.rule, figure.caption) for figure in figures]


@pytest.mark.parametrize(
    ("html", "found"),
    [
        ("<figure><img src=a.png alt=no><figcaption>an <b>ant</b></figcaption></figure>", ("figcaption", "an ant")),
        (
            "<figure><div><img src=a.png></div><div><figcaption>an ant</figcaption></div></figure>",
            ("figcaption", "an ant"),
        ),
        (
            "<div class='thumb'><a><img src=a.png></a><div class='thumbcaption'>an ant</div></div>",
            ("caption", "an ant"),
        ),
        (
            "<div class=wp-caption><img src=a.png alt=no><p class=wp-caption-text>an ant</p></div>",
            ("caption", "an ant"),
        ),
        ("<div class=mediaobject><img src=a.png></div><div class=caption>an ant</div>", ("caption", "an ant")),
        ("<table><caption>an ant</caption><tr><td><img src=a.png></td></tr></table>", ("alt", "")),
        ("<h2>Ants</h2><p><img src=a.png alt=' an  ant '></p>", ("alt", "an ant")),
        ("<h2>Ants</h2><h3></h3><p><img src=a.png alt=''></p>", ("heading", "Ants")),
        ("<div><img src=a.png></div><p>an ant</p>", ("paragraph", "an ant")),
        ("<p class=recaptioned>no</p><p><img src=a.png></p>", ("", "")),
        ("<img src=a.png>", ("", "")),
    ],
)
def test_the_first_rule_that_finds_a_text_decides(html: str, found: tuple[str, str]) -> None:
    rule, caption = found
    assert read(html) == [("a.png", rule if caption else "", caption)]


def test_images_that_share_an_element_do_not_share_a_marked_caption() -> None:
    html = "<div><img src=a.png alt=ant><img src=b.png alt=bee><p class=caption>insects</p></div>"
    assert read(html) == [("a.png", "alt", "ant"), ("b.png", "alt", "bee")]


def test_an_image_with_two_captions_is_two_figures_and_one_with_none_beside_it_is_left_out() -> None:
    html = "<img src=a.png><img src=a.png alt=one><img src=a.png alt=two><img src=a.png alt=one>"
    assert read(html) == [("a.png", "alt", "one"), ("a.png", "alt", "two")]


def test_what_is_no_fetched_image_is_no_figure() -> None:
    assert read("<img src='data:image/png;base64,AA' alt=x><img src='http://[' alt=y><img alt=z>") == []


def test_parts_are_numbered_by_rule() -> None:
    figures = [Figure("a", "x", "alt"), Figure("b"), Figure("c", "y", "alt"), Figure("d", "z", "figcaption")]
    assert [name for name, _ in number_figures(figures)] == ["alt", "alt.2", "figcaption"]


def test_a_page_of_thousands_of_images_takes_linear_time() -> None:
    html = "<div>" + "<img src=a.png class=caption>" * 5_000 + "</div>"
    assert read(html) == [("a.png", "", "")]


def test_captions_become_items_with_the_image_that_they_are_about(tmp_path: Path) -> None:
    page = b"<h1>Zoo</h1><figure><img src=owl.png><figcaption>an owl</figcaption></figure><img src=/logo.png alt=us>"
    responses = [
        Response("http://a.test/one/", page),
        Response("http://a.test/two/", page),
        Response("http://a.test/one/owl.png", make_image(1), page="http://a.test/one/"),
        Response("http://a.test/logo.png", make_image(2), page="http://a.test/one/"),
    ]
    ingested = run_ingest(tmp_path, make_params(figures=True, page_text=None), responses)
    about = {f"{row['file']}#{row['part']}": row["about"] for row in ingested.rows}
    assert about == {
        "logo.png#": None,
        "one/owl.png#": None,
        "one/#figcaption": "http://a.test/one/owl.png",
        "one/#alt": "http://a.test/logo.png",
        "two/#figcaption": "http://a.test/two/owl.png",
        "two/#alt": "http://a.test/logo.png",
    }
    assert {row["file"]: row["pages"] for row in ingested.rows if row["pages"]} == {"logo.png": 2, "one/owl.png": 1}


def test_a_redirected_page_is_the_base_of_its_images(tmp_path: Path) -> None:
    responses = [
        Response("http://a.test/old", b"<p><img src=owl.png alt=owl></p>", final_url="http://a.test/new/page"),
        Response("http://a.test/new/owl.png", make_image(1), page="http://a.test/old"),
    ]
    ingested = run_ingest(tmp_path, make_params(figures=True, page_text=None), responses)
    assert [row["about"] for row in ingested.rows if row["about"]] == ["http://a.test/new/owl.png"]
