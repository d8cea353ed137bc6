"""Test crawls that find URLs by sitemaps and feeds, bound them by patterns, and merge pages by canonical links."""

import gzip
from pathlib import Path

import pytest

from tests.support.crawling import SITE_FILES, START, Crawl, make_params, run_crawl
from tests.support.loopback import Reply, Route, page, serve

pytestmark = pytest.mark.slow

IMAGE = Reply(b"\x89PNG\r\n\x1a\n" + bytes(100), headers={"Content-Type": "image/png"})
XML = {"Content-Type": "application/xml"}


def build_sitemap(*paths: str, extra: str = "") -> bytes:
    urls = "".join(f"<url><loc>{START.rstrip('/')}{path}</loc>{extra}</url>" for path in paths)
    return f'<?xml version="1.0"?><urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{urls}</urlset>'.encode()


def build_index(*urls: str) -> bytes:
    return f"<sitemapindex>{''.join(f'<sitemap><loc>{url}</loc></sitemap>' for url in urls)}</sitemapindex>".encode()


def name(result: Crawl, reason: str) -> list[str]:
    """The paths of the URLs that were dropped for a reason."""
    return sorted(url.removeprefix(START) for url, found in result.reasons.items() if found == reason)


def list_kept(result: Crawl) -> list[str]:
    return [url.removeprefix(START) for url, row in result.rows.items() if row["reason"] is None]


def test_sitemaps_of_robots_txt_are_read(tmp_path: Path) -> None:
    robots = b"User-agent: *\nDisallow: /hidden/\nSitemap: /index.xml\nSitemap: http://cdn.test/more.txt\nSitemap: ftp://x/\n"
    routes: dict[str, Route] = {
        "/robots.txt": Reply(robots),
        "/": page(""),
        "/index.xml": Reply(
            build_index(f"{START}a.xml.gz", f"{START}b.xml", "http://cdn.test/not-named.xml"), headers=XML
        ),
        "/a.xml.gz": Reply(gzip.compress(build_sitemap("/1", "/2"), mtime=0)),
        "/b.xml": Reply(build_sitemap("/2", "/hidden/3") + b"cut", headers=XML),
        **{f"/{n}": page(f'{n}<a href="/deeper/{n}">x</a>') for n in range(1, 5)},
    }
    more = {"/robots.txt": Reply(status=404), "/more.txt": Reply(f"{START}4\nhttp://cdn.test/page\n".encode())}
    with serve(routes) as site, serve(more) as cdn:
        params = make_params(address=site.address, hosts={"cdn.test": cdn.address}, sitemaps=["robots"], max_depth=0)
        result = run_crawl(tmp_path, params)
        none = run_crawl(tmp_path / "none", make_params(address=site.address))
        assert "/page" not in cdn.requests
        assert "/not-named.xml" not in cdn.requests
    assert list_kept(none) == [""]
    assert list_kept(result) == ["", "1", "2", "4"]
    assert name(result, "used_as_list") == ["a.xml.gz", "b.xml", "http://cdn.test/more.txt", "index.xml"]
    assert name(result, "robots_forbid") == ["hidden/3"]
    assert name(result, "bad_url") == ["ftp://x/"]
    outside = ["http://cdn.test/not-named.xml", "http://cdn.test/page"]
    assert name(result, "out_of_bounds") == [*(f"deeper/{n}" for n in (1, 2, 4)), *outside]
    assert [result.rows[f"{START}{path}"]["page"] for path in ("2", "a.xml.gz", "index.xml")] == [
        f"{START}a.xml.gz", f"{START}index.xml", START,
    ]  # fmt: skip
    assert [(part.key, str(part.reason)) for part in result.parts] == [(f"{START}b.xml", "unreadable")]


def test_listed_sitemaps_need_no_start_page(tmp_path: Path) -> None:
    routes: dict[str, Route] = {
        "/map.txt": Reply(f"{START}1\n{START}2\n".encode(), headers={"Content-Type": "text/plain"}),
        "/1": page('<a href="/3">3</a>'),
        "/2": Reply(f"{START}never\n".encode(), headers={"Content-Type": "text/plain"}),  # a text as any other
        "/3": page(""),
    }
    with serve(routes) as site:
        result = run_crawl(
            tmp_path, make_params(address=site.address, start=[], sitemaps=[f"{START}map.txt", "ftp://x/"])
        )
        again = run_crawl(
            tmp_path, make_params(address=site.address, start=[], sitemaps=[f"{START}map.txt", "ftp://x/"])
        )
    assert list_kept(result) == ["1", "2", "3"]
    assert result.reasons == {f"{START}map.txt": "used_as_list", "ftp://x/": "bad_url"}
    assert [result.rows[f"{START}{path}"]["depth"] for path in ("1", "3")] == [0, 1]
    assert again.hash_files() == result.hash_files()
    assert again.outcome.notes == ["0 requests, all other responses from the cache"]


def test_a_sitemap_is_read_whatever_it_is_served_as_and_where_the_start_page_is_forbidden(tmp_path: Path) -> None:
    robots = Reply(b"User-agent: *\nDisallow: /\nAllow: /open/\nSitemap: /open/a.xml\nSitemap: /open/b.xml\n")
    routes: dict[str, Route] = {
        "/robots.txt": robots,
        "/open/a.xml": Reply(build_sitemap("/open/1", "/closed"), headers={"Content-Type": "text/html"}),
        "/open/b.xml": Reply(build_sitemap("/open/2"), headers={**XML, "X-Robots-Tag": "noindex"}),
        "/open/1": page("1"),
        "/open/2": page("2"),
    }
    with serve(routes) as site:
        result = run_crawl(tmp_path, make_params(address=site.address, sitemaps=["robots"]))
    assert list_kept(result) == ["open/1", "open/2"]
    assert name(result, "robots_forbid") == ["", "closed"]
    assert name(result, "used_as_list") == ["open/a.xml", "open/b.xml"]


def test_sitemaps_that_name_one_another_end(tmp_path: Path) -> None:
    routes: dict[str, Route] = {f"/{n}.xml": Reply(build_index(f"{START}{n + 1}.xml"), headers=XML) for n in range(9)}
    routes["/loop.xml"] = Reply(build_index(f"{START}loop.xml"), headers=XML)
    with serve(routes) as site:
        params = make_params(address=site.address, start=[], sitemaps=[f"{START}0.xml", f"{START}loop.xml"])
        result = run_crawl(tmp_path, params)
    assert name(result, "used_as_list") == ["0.xml", "1.xml", "2.xml", "loop.xml"]
    assert name(result, "out_of_bounds") == ["3.xml"]


def test_of_many_sitemaps_as_many_are_read_as_are_needed(tmp_path: Path) -> None:
    sitemaps = [f"/map{number:02d}.xml" for number in range(30)]
    routes: dict[str, Route] = {
        "/index.xml": Reply(build_index(*(START.rstrip("/") + path for path in sitemaps)), headers=XML),
        **{path: Reply(build_sitemap(*(f"{path}/{n}" for n in range(10))), headers=XML) for path in sitemaps},
        **{f"{path}/{n}": page(f"{path} {n}") for path in sitemaps for n in range(10)},
    }
    with serve(routes) as site:
        params = make_params(address=site.address, start=[], sitemaps=[f"{START}index.xml"], max_urls=100)
        result = run_crawl(tmp_path, params)
        assert [path for path in sitemaps if path in site.requests] == sitemaps[:16]  # two levels of them
        everything = run_crawl(tmp_path, make_params(address=site.address, start=[], sitemaps=[f"{START}index.xml"]))
    assert len(list_kept(result)) == 100 - 1 - 16
    assert name(result, "out_of_bounds") == [path[1:] for path in sitemaps[16:]]
    counted = {part.key.removeprefix(START): (part.count, part.setting) for part in result.parts}
    assert sum(count for count, _ in counted.values()) == 160 - 83
    assert set(counted.values()) <= {(7, "crawl.max_urls"), (10, "crawl.max_urls")}
    assert len(list_kept(everything)) == 300


FEED = """<rss version="2.0"><channel>
<item><link>/kept</link><enclosure url="/kept.png" type="image/png"/></item>
<item><link>/refused</link><enclosure url="/refused.png" type="image/png"/></item>
<item><link>/no-images</link><enclosure url="/no-images.png" type="image/png"/>
  <enclosure url="/sound" type="audio/ogg"/></item>
<item><link>/excluded</link><enclosure url="/excluded.png" type="image/png"/></item>
<item><enclosure url="/alone.png" type="image/png"/></item>
<item><link>http://other.test/</link><enclosure url="/other.png" type="image/png"/></item>
</channel></rss>"""


def test_what_a_feed_encloses_shares_the_verdict_on_its_page(tmp_path: Path) -> None:
    routes: dict[str, Route] = {
        "/": page("", head='<link rel="alternate" type="application/rss+xml" href="/feed">'),
        "/feed": Reply(FEED.encode(), headers={"Content-Type": "application/rss+xml"}),
        "/kept": page(""),
        "/refused": page("", head='<meta name="robots" content="noai">'),
        "/no-images": page("", head='<meta name="robots" content="noimageai">'),
        **{f"/{path}.png": IMAGE for path in ("kept", "refused", "no-images", "excluded", "alone", "other")},
        "/sound": Reply(b"OggS"),
    }
    with serve(routes) as site:
        off = run_crawl(tmp_path / "off", make_params(address=site.address))
        result = run_crawl(tmp_path, make_params(address=site.address, feeds=True, exclude=["/excluded"]))
        fetched = {path for path in site.requests if path.endswith(".png")}
    assert list_kept(off) == [""]
    assert list_kept(result) == ["", "alone.png", "kept", "kept.png", "no-images", "other.png", "sound"]
    assert fetched == {"/kept.png", "/alone.png", "/other.png"}  # the others were not even asked for
    assert name(result, "opted_out") == ["no-images.png", "refused", "refused.png"]
    assert name(result, "out_of_bounds") == ["excluded", "excluded.png", "http://other.test/"]
    assert name(result, "used_as_list") == ["feed"]
    pages = {
        path: result.rows[f"{START}{path}"]["page"].removeprefix(START) for path in ("kept.png", "sound", "alone.png")
    }
    assert pages == {"kept.png": "kept", "sound": "no-images", "alone.png": "feed"}
    assert result.rows[f"{START}kept"]["depth"] == 1


def test_the_pages_of_a_feed_that_goes_on_are_as_deep_as_links(tmp_path: Path) -> None:
    routes: dict[str, Route] = {
        f"/feed{n}": Reply(
            f'<feed><link rel="next" href="/feed{n + 1}"/><entry><link href="/{n}"/></entry></feed>'.encode()
        )
        for n in range(9)
    }
    routes |= {f"/{n}": page("") for n in range(9)}
    with serve(routes) as site:
        result = run_crawl(tmp_path, make_params(address=site.address, start=[f"{START}feed0"], max_depth=2))
    assert list_kept(result) == ["0", "1"]
    assert name(result, "used_as_list") == ["feed0", "feed1", "feed2"]


def test_urls_that_patterns_leave_out_are_dropped_rows(tmp_path: Path) -> None:
    links = ("/a/1", "/a/tag/x", "/b/1", "/go", "/A/1")
    routes: dict[str, Route] = {
        "/": page("".join(f'<a href="{link}">x</a>' for link in links) + '<img src="/i/1.png"><img src="/i/ad/2.png">'),
        "/a/1": page('<a href="/a/1?print=1">print</a>'),
        "/go": Reply(status=302, headers={"Location": "/a/tag/x"}),
        "/i/1.png": IMAGE,
    }
    with serve(routes) as site:
        patterns = {"include": ["site.test/a/**", "/go"], "exclude": ["**/ad/**", "/a/tag/*", "/**?**print=**"]}
        result = run_crawl(tmp_path, make_params(address=site.address, **patterns))
        assert {"/", "/a/1", "/go", "/i/1.png"} == set(site.requests) - SITE_FILES
    assert list_kept(result) == ["", "a/1", "i/1.png"]
    assert name(result, "out_of_bounds") == ["A/1", "a/1?print=1", "a/tag/x", "b/1", "go", "i/ad/2.png"]
    limits = {drop.key.removeprefix(START): (drop.setting, drop.limit) for drop in result.drops}
    assert limits["b/1"] == ("crawl.include", "")
    assert limits["a/tag/x"] == limits["go"] == ("crawl.exclude", "/a/tag/*")
    assert limits["i/ad/2.png"] == ("crawl.exclude", "**/ad/**")


def build_pages() -> dict[str, Route]:
    def say(url: str, body: str = "") -> Reply:
        return page(f'<img src="/{body or "x"}.png">', head=f'<link rel="canonical" href="{url}">')

    return {
        "/": page(
            "".join(f'<a href="/{link}">x</a>' for link in ("p?s=1", "p?s=2", "gone", "a", "b", "home", "two", "far"))
        ),
        "/p?s=1": say("/p", "p"),
        "/p?s=2": say(f"{START}p?s=1"),  # a chain
        "/p": say("/p", "own"),
        "/gone": say("/404"),
        "/a": say("/b"),  # a loop
        "/b": say("/a"),
        "/home": say("/"),  # what templates get wrong
        "/two": page("", head='<link rel="canonical" href="/p"><link rel="canonical" href="/a">'),
        "/far": say("http://other.test/far"),
        **{f"/{path}.png": IMAGE for path in ("p", "own", "x")},
    }


def test_pages_that_name_another_url_as_their_own_are_one(tmp_path: Path) -> None:
    with serve(build_pages()) as site:
        result = run_crawl(tmp_path, make_params(address=site.address))
        off = run_crawl(tmp_path, make_params(address=site.address, canonical=False))
    assert name(result, "duplicate") == ["p?s=1", "p?s=2"]
    assert {drop.kept_key for drop in result.drops if drop.reason == "duplicate"} == {f"{START}p"}
    assert result.read_settings()[f"{START}p?s=1"] == "crawl.canonical"
    assert name(result, "http_error") == ["404"]
    assert name(result, "out_of_bounds") == ["http://other.test/far"]
    kept = ["", "a", "b", "far", "gone", "home", "own.png", "p", "p.png", "two", "x.png"]
    assert list_kept(result) == kept
    assert result.rows[f"{START}p.png"]["page"] == f"{START}p"  # not the form that showed it
    assert (result.rows[f"{START}p"]["page"], result.rows[f"{START}p"]["depth"]) == (f"{START}p?s=1", 1)
    assert not name(off, "duplicate")
    assert "p" not in list_kept(off)  # nothing links it


def test_a_listed_page_stays_whatever_it_names(tmp_path: Path) -> None:
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "urls.txt").write_text(f"{START}p?s=1\n")
    lists = {"lists_folder": str(tmp_path / "lists"), "lists": [{"file": "urls.txt"}]}
    with serve(build_pages()) as site:
        result = run_crawl(tmp_path, make_params(address=site.address, **lists))
    assert name(result, "duplicate") == ["p?s=2"]
    assert "p?s=1" in list_kept(result)


def test_the_bytes_do_not_depend_on_the_order_of_responses(tmp_path: Path) -> None:
    hashes = []
    for number, per_host in enumerate((8, 1)):
        routes = build_pages()
        slow = [path for index, path in enumerate(routes) if index % 2 == number]
        for path in slow:
            reply = routes[path]
            assert isinstance(reply, Reply)
            routes[path] = Reply(reply.body, headers=reply.headers, delay=0.05)
        feed = FEED.replace("/kept.png", "/x.png").replace("/kept", "/p?s=1").encode()
        routes |= {"/feed": Reply(feed), "/map.xml": Reply(build_sitemap("/p?s=2", "/a", "/feed"), headers=XML)}
        with serve(routes) as site:
            params = make_params(address=site.address, sitemaps=[f"{START}map.xml"], per_host=per_host)
            hashes.append(run_crawl(tmp_path / str(number), params).hash_files())
    assert hashes[0] == hashes[1]
