"""Test what is read of sitemaps and feeds, well-formed, damaged and hostile ones."""

import gzip
import json
import time
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.crawl.discovery import entries
from pipeline.crawl.discovery.listings import FEED, INDEX, MAX_LISTING_BYTES, SITEMAP, URL_LINES, read_listing
from pipeline.crawl.links import Link, Links

URL = "http://a.test/list/here.xml"


def read(text: str | bytes, content_type: str = "text/xml") -> Links:
    found = read_listing(text.encode() if isinstance(text, str) else text, content_type, URL)
    assert found is not None
    return found


def list_urls(links: Links) -> list[str]:
    return [link.url.removeprefix("http://a.test/") for link in links.followed]


def build_sitemap(count: int) -> str:
    urls = "".join(f"<url><loc>http://a.test/{number}</loc></url>" for number in range(count))
    return f'<?xml version="1.0"?><urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{urls}</urlset>'


def test_a_sitemap_has_pages_and_what_they_show() -> None:
    links = read("""<?xml version="1.0" encoding="UTF-8"?><!-- made by hand -->
    <urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"
            xmlns:image="http://www.google.com/schemas/sitemap-image/1.1">
      <url><loc> http://a.test/1?a=1&amp;b=2 </loc><lastmod>2024-01-01</lastmod><priority>0.8</priority>
        <image:image><image:loc>/1.jpg</image:loc><image:caption>no URL</image:caption></image:image>
        <video:video><video:thumbnail_loc>http://a.test/v.jpg</video:thumbnail_loc>
          <video:content_loc>http://a.test/v.mp4</video:content_loc></video:video></url>
      <url><loc>http://a.test/2</loc><xhtml:link rel="alternate" hreflang="de" href="http://a.test/de/2"/></url>
      <url><loc>mailto:me@a.test</loc></url><url><loc>http://[/</loc></url><url/>
    </urlset>""")
    page = "http://a.test/1?a=1&b=2"
    assert links.listing == SITEMAP
    assert links.followed[:5] == (
        Link(page, False, same_depth=True),
        Link("http://a.test/1.jpg", True, image=True, page=page),
        Link("http://a.test/v.jpg", True, image=True, page=page),
        Link("http://a.test/v.mp4", True, page=page),
        Link("http://a.test/2", False, same_depth=True),
    )
    assert [link.fault for link in links.followed[5:]] == ["its host or port is not valid"]
    assert links.other_schemes == 1


def test_an_index_has_sitemaps() -> None:
    links = read(
        "<sitemapindex><sitemap><loc>/1.xml.gz</loc></sitemap><sitemap><loc>/2.xml</loc></sitemap></sitemapindex>"
    )
    assert links.listing == INDEX
    assert links.followed[0] == Link("http://a.test/1.xml.gz", False, same_depth=True, sitemap=True)
    assert list_urls(links) == ["1.xml.gz", "2.xml"]


def test_a_text_of_urls_is_told_from_other_texts() -> None:
    links = read("﻿http://a.test/1\r\n\r\nHTTPS://a.test/2\nhttp://a.test/3\n/4\n")
    assert links.listing == URL_LINES
    assert list_urls(links) == ["1", "https://a.test/2", "3", "4"]
    for other in ("see http://a.test/", "", "http://a.test/ is a page", "<html>http://a.test/", "\0\1\2", "{}"):
        assert read_listing(other.encode(), None, URL) is None


RSS = """<rss version="2.0" xmlns:media="http://search.yahoo.com/mrss/"><channel><link>http://a.test/</link>
<image><url>http://a.test/logo.png</url><link>http://a.test/home</link></image>
<item><title>One &nbsp; &hellip;</title><link>http://a.test/1</link><guid>http://a.test/guid</guid>
  <enclosure url="/1.mp3" length="9" type="audio/mpeg"/><media:thumbnail url="/small.jpg"/></item>
<item><guid isPermaLink="true">http://a.test/2</guid>
  <media:group><media:content url="/2.jpg" medium="image"/><media:thumbnail url="/2-small.jpg"/></media:group></item>
<item><guid isPermaLink="false">tag:3</guid><enclosure url="/3.ogg" type="audio/ogg"/></item>
<item><description>nothing</description></item></channel></rss>"""

RDF = """<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns="http://purl.org/rss/1.0/">
<channel rdf:about="http://a.test/"><link>http://a.test/</link></channel>
<item rdf:about="http://a.test/1"><link>http://a.test/1</link></item></rdf:RDF>"""

ATOM = """<?xml version="1.0"?><feed xmlns="http://www.w3.org/2005/Atom"><link href="http://a.test/"/>
<link rel="self" href="/feed"/><link rel="next" href="/feed?page=2"/>
<entry><link rel="replies" href="/1/comments"/><link href="/1"/><link rel="enclosure" type="image/png" href="/1.png"/>
<content type="video/mp4" src="/1.mp4"/></entry>
<entry><link rel="alternate" type="text/html" href="/2"/><content type="html">&lt;img src="/x.png"&gt;</content></entry>
</feed>"""

JSON = json.dumps({
    "version": "https://jsonfeed.org/version/1.1", "next_url": "/next", "items": [
        {"url": "/1", "image": "/1.png", "attachments": [{"url": "/1.mp3", "mime_type": "audio/mpeg"}, 7, {}]},
        {"external_url": "/2", "url": 5}, "no object"],
})  # fmt: skip


@pytest.mark.parametrize(
    ("text", "pages", "media"),
    [
        (
            RSS,
            ["1", "2"],
            {"1.mp3": ("1", False), "small.jpg": ("1", True), "2.jpg": ("2", True), "3.ogg": ("", False)},
        ),
        (RDF, ["1"], {}),
        (ATOM, ["feed?page=2", "1", "2"], {"1.png": ("1", True), "1.mp4": ("1", False)}),
        (JSON, ["1", "2", "next"], {"1.png": ("1", True), "1.mp3": ("1", False)}),
    ],
    ids=["rss", "rdf", "atom", "json"],
)
def test_a_feed_has_pages_with_their_media(text: str, pages: list[str], media: dict[str, tuple[str, bool]]) -> None:
    links = read(text)
    assert (links.listing, links.unread) == (FEED, "")
    assert list_urls(Links(tuple(link for link in links.followed if not link.embedded))) == pages
    assert not any(link.same_depth for link in links.followed)
    embedded = {link.url: link for link in links.followed if link.embedded}
    shown = {url: ((link.page or "").removeprefix("http://a.test/"), link.image) for url, link in embedded.items()}
    assert shown == {f"http://a.test/{path}": facts for path, facts in media.items()}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "iso-8859-1", "windows-1251", "shift_jis"])
def test_encodings(encoding: str) -> None:
    path = {"windows-1251": "фото", "shift_jis": "写真"}.get(encoding, "é")
    text = f'<?xml version="1.0" encoding="{encoding}"?><urlset><url><loc>/{path}</loc></url></urlset>'
    links = read_listing(text.encode(encoding), None, URL)
    assert links is not None
    assert (links.followed, links.unread) == ((Link(f"http://a.test/{quote(path)}", False, same_depth=True),), "")


def quote(path: str) -> str:
    return "".join(f"%{byte:02X}" for byte in path.encode())


def test_compressed_lists_and_their_bounds() -> None:
    packed = gzip.compress(build_sitemap(30).encode(), mtime=0)
    assert len(read(packed).followed) == 30
    halves = build_sitemap(30).encode()
    assert len(read(gzip.compress(halves[:99]) + gzip.compress(halves[99:])).followed) == 30
    assert read(packed[:-20]).unread
    assert read(packed[:-9] + b"\0" * 9).unread
    bomb = gzip.compress(build_sitemap(3)[:-9].encode() + b" " * (MAX_LISTING_BYTES + 1))
    tracemalloc.start()
    links = read(bomb)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (len(links.followed), bool(links.unread)) == (3, True)
    assert peak < 4 * MAX_LISTING_BYTES


def test_more_urls_than_the_protocol_allows_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entries, "MAX_ENTRIES", 20)
    links = read(build_sitemap(25))
    assert (len(links.followed), links.beyond) == (20, 5)
    assert read("\n".join(f"http://a.test/{n}" for n in range(23))).beyond == 3


@pytest.mark.sweep
def test_the_largest_sitemap_is_read_in_time() -> None:
    text, start = build_sitemap(entries.MAX_ENTRIES), time.thread_time()
    links = read(text)
    assert (len(links.followed), links.beyond) == (entries.MAX_ENTRIES, 0)
    assert time.thread_time() - start < 10


LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
HOSTILE = {
    "billion laughs": f'<!DOCTYPE urlset [<!ENTITY l0 "ha">{LAUGHS}]><urlset><url><loc>/&l9;</loc></url></urlset>',
    "a file": '<!DOCTYPE rss [<!ENTITY x SYSTEM "file:///etc/passwd">]><rss><item><link>/&x;</link></item></rss>',
    "parameters": '<!DOCTYPE rss [<!ENTITY % x SYSTEM "http://a.test/x"> %x;]><rss><item><link>/a</link></item></rss>',
    "nested": "<urlset>" + "<a>" * 1_000_000,
    "many elements": "<urlset>" + "<a/>" * 1_000_001,
    "unclosed": "<urlset><url><loc>http://a.test/1</loc></url><url>",
    "a long text": "<urlset><url><loc>http://a.test/" + "a" * 5_000_000 + "</loc></url>",
    "attributes": "<urlset><a " + " ".join(f'a{n}="x"' for n in range(300_000)) + "/>",
    "a long name": f"<urlset><{'a' * 3_000_000}>",
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_xml_is_read_up_to_the_fault_in_bounded_time(name: str) -> None:
    start = time.thread_time()
    links = read(HOSTILE[name])
    assert time.thread_time() - start < 8
    assert links.unread
    assert [link.url for link in links.followed if not link.fault] == ["http://a.test/1"] * (name == "unclosed")
    assert all(len(link.url) <= 200 for link in links.followed)


def test_an_outside_document_type_is_not_loaded() -> None:
    links = read(
        '<!DOCTYPE rss PUBLIC "-//N//DTD RSS//EN" "http://127.0.0.1:9/x.dtd"><rss><item><link>/1</link></item></rss>'
    )
    assert (list_urls(links), links.unread) == (["1"], "")


@pytest.mark.parametrize(
    "text", ["<" + "!--" * 2000, "<?" * 2000, "<!DOCTYPE " + "[" * 4000, "{" + '"' * 4000, "<a:" * 1300]
)
def test_other_texts_are_told_in_time(text: str) -> None:
    start = time.thread_time()
    assert read_listing(text.encode(), None, URL) is None
    assert time.thread_time() - start < 1


def test_images_are_told_at_once() -> None:
    image, start = b"\xff\xd8\xff\xe0" + bytes(range(256)) * 400, time.thread_time()
    assert [read_listing(image, "image/jpeg", URL) for _ in range(1000)] == [None] * 1000
    assert time.thread_time() - start < 0.2


def test_deep_json_is_refused() -> None:
    links = read('{"version": "https://jsonfeed.org/version/1", "items": ' + "[" * 200_000)
    assert (links.followed, links.unread) == ((), "a JSON Feed that is not valid JSON")


@given(
    st.text('<>/&;!?[]"=urlsetocdSYM \x00{}'),
    st.sampled_from(["<urlset>", "<rss>", "{", "\x1f\x8b", "http://a.test/\n"]),
)
def test_any_bytes_are_read_or_not(text: str, start: str) -> None:
    read_listing((start + text).encode("latin-1"), None, URL)
