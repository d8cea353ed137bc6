"""The pages of the demo connect everything, and the pipeline reads them."""

import re
from html.parser import HTMLParser

import pytest

from demo.flaws import Flaw
from demo.plan import HOST, Site
from demo.site import Response, render
from pipeline.consent.robots_file import parse_robots_file
from pipeline.ingest.params import IngestParams
from pipeline.ingest.read_page import read_page
from tests.demo.demo_site import describe, find_sound

pytestmark = pytest.mark.slow


class Links(HTMLParser):
    """The URLs that a page links to and embeds."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.links: list[str] = []
        self.metas: dict[str, str] = {}
        self.caption = ""
        self.alts: list[str] = []
        self._in_caption = False
        self.feed(page.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = {name: value or "" for name, value in attrs}
        self.links += [named[name] for name in ("href", "src") if name in named]
        if "name" in named:
            self.metas[named["name"]] = named["content"]
        self.alts += [named["alt"]] if tag == "img" else []
        self._in_caption = tag == "figcaption"

    def handle_endtag(self, tag: str) -> None:
        self._in_caption = False

    def handle_data(self, data: str) -> None:
        self.caption += data if self._in_caption else ""


def test_following_links_finds_every_thing(site: Site, files: dict[str, Response]) -> None:
    seen: dict[str, int] = {}
    waiting, away = ["/"], set()
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        response = files[path] if path in files else render(site, path, attempt=1)
        seen[path] = response.status
        if response.status == 301:
            waiting.append(dict(response.headers)["Location"])
        if dict(response.headers)["Content-Type"].startswith("text/html") and response.status == 200:
            links = Links(response.body).links
            away |= {link for link in links if not link.startswith("/")}
            waiting += [link for link in links if link.startswith("/")]
    assert set(site.things_by_path) <= set(seen)
    assert set(site.offsite_links) <= away
    missing = [path for path, status in seen.items() if status == 404]
    assert missing == [find_sound(site, Flaw.BROKEN_SOUND_LINK)]


def test_a_page_connects_its_files_to_kind_caption_and_licence(site: Site, files: dict[str, Response]) -> None:
    for thing in site.things:
        page = Links(files[thing.page].body)
        assert page.caption == thing.caption
        assert page.metas["kind"] == thing.kind.name
        assert page.metas["author"] == thing.author
        assert (thing.picture is None) == (Flaw.NO_PICTURE in thing.flaws)
        assert (thing.sound is None) == (Flaw.NO_SOUND in thing.flaws)
        assert page.alts == ([describe(thing)] if thing.picture else [])
        shown = {part.path for part in (thing.picture, thing.sound) if part}
        assert {link for link in page.links if re.match("/(pictures|sounds)/", link)} == shown


def test_the_pipeline_finds_the_alt_text_of_an_image_and_the_caption_of_the_page(
    site: Site, files: dict[str, Response]
) -> None:
    params = IngestParams(page_text="figcaption", figures=True)
    for thing in site.things[:20]:
        url = f"http://{HOST}{thing.page}"
        page = read_page(files[thing.page].body, params, url, "text/html")
        assert page.text == thing.caption
        alts = [(figure.rule, figure.caption) for figure in page.figures]
        assert alts == ([("alt", describe(thing))] if thing.picture else [])


def test_robots_forbids_the_locked_drawer(site: Site) -> None:
    rules = parse_robots_file(render(site, "/robots.txt").body).select_rules("shardwright")
    for thing in site.things:
        allowed = rules.find_disallow(f"http://{HOST}{thing.page}") is None
        assert allowed == (Flaw.FORBIDDEN_PAGE not in thing.flaws)
