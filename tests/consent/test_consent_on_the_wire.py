"""Test that each signal is heard wherever it is, with its evidence, and that no byte of a refused body is stored."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pipeline.lineage.stage_tables import StageTables
from pipeline.lineage.why.explain import explain_answer
from pipeline.lineage.why.query import read_query
from pipeline.lineage.why.trace import open_tracer
from tests.support.crawling import HOST, START, Crawl, make_params, run_crawl
from tests.support.loopback import Reply, Route, serve
from tests.support.opted_out import (
    CANARY,
    make_box,
    make_chunk,
    make_iso,
    make_jpeg_extension,
    make_jpeg_manifest,
    make_jpeg_xmp,
    make_jumbf,
    make_manifest,
    make_mining,
    make_png,
    make_png_xmp,
    make_riff,
    make_xmp,
)

pytestmark = pytest.mark.slow

URL = f"{START}art/a.png"
TDM = "/.well-known/tdmrep.json"
PICTURE = make_png()
LICENCE = '<rsl xmlns="https://rslstandard.org/rsl"><content url="/">{}</content></rsl>'
PAID = LICENCE.format('<license><permits type="usage">all</permits><payment type="crawl"/></license>')
FREE = LICENCE.format('<license><permits type="usage">all</permits><payment type="free"/></license>')
NO_TRAINING = LICENCE.format('<license><prohibits type="usage">ai-train</prohibits></license>')


def picture(**headers: str) -> dict[str, Route]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return {"/art/a.png": Reply(PICTURE, headers={"Content-Type": "image/png", **named})}


def media(content: bytes, content_type: str = "image/png") -> dict[str, Route]:
    return {"/art/a.png": Reply(content, headers={"Content-Type": content_type})}


def document(head: str = "", start: str = "<!doctype html>", **headers: str) -> dict[str, Route]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    content = f"{start}<html><head>{head}</head><body>{CANARY.decode()}</body></html>"
    return {"/art/a.png": Reply(content.encode(), headers={"Content-Type": "text/html", **named})}


def robots(*lines: str, more: Mapping[str, Route] = {}) -> dict[str, Route]:
    return {"/robots.txt": Reply("\n".join(lines).encode()), **picture(), **more}


def tdm(*rules: Mapping[str, Any]) -> dict[str, Route]:
    return {TDM: Reply(json.dumps(rules).encode()), **picture()}


def rule(location: str, reserved: int | str) -> dict[str, Any]:
    return {"location": location, "tdm-reservation": reserved}


def licence(content: str) -> dict[str, Route]:
    return {"/l.xml": Reply(content.encode())}


def ai_txt(*lines: str) -> dict[str, Route]:
    return {"/ai.txt": Reply("\n".join(lines).encode()), **picture()}


def meta(name: str, content: str) -> dict[str, Route]:
    return document(f'<meta name="{name}" content="{content}">')


RSL_LINK = '<link rel="license" type="application/rsl+xml" href="/l.xml">'
RSL_HEADER = '</l.xml>; rel="license"; type="application/rsl+xml"'
ALL = "User-agent: *"
OTHER = "User-agent: otherbot"
OWN = "User-agent: ShardWright"
USAGE = "Content-Usage: "
MINING = make_manifest(entry="data_mining")
DAMAGED = make_jumbf("cawg.training-mining", make_box(b"cbor", b"\xbf\xff\xff"))

REFUSED: dict[str, tuple[str, Mapping[str, Route]]] = {
    # robots.txt
    "robots rule": ("robots-txt", robots(ALL, "Disallow: /art/")),
    "robots rule of two groups": ("robots-txt", robots(OWN, "Disallow: /x", "", OWN.lower(), "Disallow: /art")),
    "robots usage of all": ("content-usage", robots(ALL, "Allow: /", "Content-Usage: / train-ai=n")),
    "robots usage of a path": ("content-usage", robots(ALL, USAGE + "/ train-ai=y", USAGE + "/art/ train-ai=n")),
    "robots usage, both": ("content-usage", robots(ALL, USAGE + "/art/ train-ai=y", USAGE + "/art/ train-ai=n")),
    "robots usage of a pattern": ("content-usage", robots(ALL, "Content-Usage: /*.png$ train-ai=n")),
    "robots usage without a path": ("content-usage", robots(ALL, "Content-Usage: bots=n")),
    "robots usage of the agent": ("content-usage", robots(ALL, "Allow: /", "", OWN, USAGE + "/ train-ai=n")),
    "robots usage before any group": ("content-usage", robots("Content-Usage: / train-ai=n", ALL, "Allow: /")),
    "robots signal": ("content-signal", robots("# managed", ALL, "Content-Signal: search=yes,ai-train=no", "Allow: /")),
    "robots signal in capitals": ("content-signal", robots("USER-AGENT: *", "CONTENT-SIGNAL: AI-TRAIN=NO")),
    "robots licence": ("rsl", robots("License: /l.xml", ALL, "Allow: /", more=licence(PAID))),
    "robots licence behind": ("rsl", robots(OTHER, "Disallow: /", "", "License: l.xml", more=licence(NO_TRAINING))),
    "robots licence that is not there": ("rsl", robots(f"License: {START}none.xml", ALL, "Allow: /")),
    # files of the site
    "tdmrep of all": ("tdmrep", tdm(rule("/", 1))),
    "tdmrep of a path": ("tdmrep", tdm(rule("/", 0), rule("/art/*", 1))),
    "tdmrep of a pattern": ("tdmrep", tdm(rule("*.png$", "1"))),
    "tdmrep that is no JSON": ("tdmrep", {TDM: Reply(b'[{"location": "/", "tdm-reservation": 1},]'), **picture()}),
    "tdmrep that fails": ("tdmrep", {TDM: Reply(status=500), **picture()}),
    "ai.txt of a type": ("ai-txt", ai_txt(ALL, "Disallow: *.jpg", "Disallow: *.png")),
    "ai.txt of all": ("ai-txt", ai_txt(ALL, "Disallow: /")),
    # headers
    "header noai": ("noai", picture(X_Robots_Tag="noai")),
    "header noml of the agent": ("noai", picture(X_Robots_Tag="otherbot: nofollow, shardwright: noml")),
    "second header": ("noai", picture(X_Robots_Tag="otherbot: noindex\nNoAI")),
    "header noimageai": ("noimageai", picture(X_Robots_Tag="noimageai")),
    "header noindex": ("noindex", picture(X_Robots_Tag="noindex, nofollow")),
    "header none": ("noindex", picture(X_Robots_Tag="none")),
    "header noimageindex": ("noimageindex", picture(X_Robots_Tag="noimageindex")),
    "header usage": ("content-usage", picture(Content_Usage="search=y, train-ai=n")),
    "second header usage": ("content-usage", picture(Content_Usage="search=y\ntrain-ai=n;x=1")),
    "header signal": ("content-signal", picture(Content_Signal="ai-train=no, search=yes")),
    "header tdm": ("tdmrep", picture(TDM_Reservation="1")),
    "header licence": ("rsl", {**licence(PAID), **picture(Link=RSL_HEADER)}),
    # pages
    "meta noai": ("noai", meta("robots", "index, NOAI")),
    "meta noml of the agent": ("noai", meta("Shardwright", "noml")),
    "meta noindex": ("noindex", meta("robots", "noindex")),
    "meta none": ("noindex", meta("ROBOTS", "none")),
    "meta tdm": ("tdmrep", meta("tdm-reservation", "1")),
    "linked licence": ("rsl", {**licence(NO_TRAINING), **document(RSL_LINK)}),
    "licence in a page": ("rsl", document(f'<script type="application/rsl+xml">{PAID}</script>')),
    # payment
    "payment": ("payment-required", {"/art/a.png": Reply(PICTURE, status=402)}),
    # inside files
    "XMP of a JPEG": ("plus-data-mining", media(make_jpeg_xmp(make_mining()))),
    "extended XMP of a JPEG": ("plus-data-mining", media(make_jpeg_extension(make_mining()))),
    "XMP of a PNG": ("plus-data-mining", media(make_png_xmp(make_mining()))),
    "compressed XMP of a PNG": ("plus-data-mining", media(make_png_xmp(make_mining(), compressed=True))),
    "XMP of a WebP": ("plus-data-mining", media(make_riff(b"WEBP", b"XMP ", make_mining()))),
    "XMP of an AVIF": ("plus-data-mining", media(make_iso(b"avif", make_box(b"mime", make_mining())))),
    "XMP of an MP4": ("plus-data-mining", media(make_iso(b"isom", make_box(b"uuid", make_mining())), "video/mp4")),
    "XMP of a WAV": ("plus-data-mining", media(make_riff(b"WAVE", b"_PMX", make_mining()), "audio/wav")),
    "XMP element": ("plus-data-mining", media(make_jpeg_xmp(b"<a:DataMining>http://ns.useplus.org/ldf/vocab/DMI-PROHIBITED</a:DataMining>"))),
    "XMP resource": ("plus-data-mining", media(make_jpeg_xmp(b'<plus:DataMining rdf:resource="http://ns.useplus.org/ldf/vocab/DMI-PROHIBITED-SEECONSTRAINT"/>'))),
    "XMP tdm": ("tdmrep", media(make_jpeg_xmp(make_xmp('tdm:reservation="1"')))),
    "C2PA of a JPEG": ("c2pa-training-mining", media(make_jpeg_manifest(make_manifest()))),
    "C2PA of a PNG": ("c2pa-training-mining", media(make_png(make_chunk(b"caBX", make_manifest(owner="c2pa"))))),
    "C2PA of a WebP": ("c2pa-training-mining", media(make_riff(b"WEBP", b"C2PA", make_manifest("constrained")))),
    "C2PA of an MP4": ("c2pa-training-mining", media(make_iso(b"isom", make_box(b"uuid", MINING)))),
    "C2PA that is damaged": ("c2pa-training-mining", media(make_png(make_chunk(b"caBX", DAMAGED)))),
}  # fmt: skip
"""By name: the signal that is heard, and what the site serves."""

KEPT: dict[str, Mapping[str, Route]] = {
    "nothing": picture(),
    "another agent's rules": robots(OTHER, "Disallow: /", USAGE + "/ train-ai=n", "Content-Signal: ai-train=no"),
    "an own group": robots(ALL, "Disallow: /", "Content-Signal: ai-train=no", "", OWN, "Allow: /"),
    "a longer path that allows": robots(ALL, "Content-Usage: / train-ai=n", "Content-Usage: /art/ train-ai=y"),
    "usage of another path": robots(ALL, "Content-Usage: /text/ train-ai=n"),
    "another use": robots(ALL, "Content-Signal: search=no, ai-input=no, ai-train=yes"),
    "a free licence": robots("License: /l.xml", more=licence(FREE)),
    "a licence of another path": robots("License: /l.xml", more=licence(PAID.replace('"/"', '"/text/"'))),
    "tdmrep of another path": tdm(rule("/text/*", 1)),
    "tdmrep that allows": tdm(rule("/", 1), rule("/art/", 0)),
    "a page in the place of tdmrep": {TDM: Reply(b"<!doctype html>hello"), **picture()},
    "ai.txt of another type": ai_txt(ALL, "Disallow: *.jpg", "Allow: *.png"),
    "directives to another agent": picture(X_Robots_Tag="otherbot: noai, noindex"),
    "other directives": picture(X_Robots_Tag="nofollow, max-snippet: 20, noarchive"),
    "header usage that allows": picture(Content_Usage="train-ai=y, ai-use=n"),
    "header tdm 0": picture(TDM_Reservation="0"),
    "another licence": picture(Link='<https://creativecommons.org/licenses/by/4.0/>; rel="license"'),
    "meta of another agent": meta("otherbot", "noai"),
    "meta noimageai on a page": meta("robots", "noimageai"),
    "XMP that allows": media(make_jpeg_xmp(make_mining("http://ns.useplus.org/ldf/vocab/DMI-ALLOWED"))),
    "XMP of nothing": media(make_jpeg_xmp(make_xmp('plus:ImageSupplier="PROHIBITED"'))),
    "C2PA that allows": media(make_jpeg_manifest(make_manifest("allowed"))),
    "C2PA of another use": media(make_jpeg_manifest(make_manifest(entry="ai_inference"))),
    "a text that quotes metadata": media(make_mining(), "text/plain"),
}  # fmt: skip


def crawl(folder: Path, routes: Mapping[str, Route], **changes: Any) -> Crawl:
    with serve(routes) as site:
        return run_crawl(folder, make_params(address=site.address, start=[URL], **changes))


def find_canaries(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and CANARY in path.read_bytes()]


@pytest.mark.parametrize("name", REFUSED)
def test_every_signal_is_heard_with_its_evidence(tmp_path: Path, name: str) -> None:
    signal, routes = REFUSED[name]
    result = crawl(tmp_path, routes)
    reasons = {"robots-txt": "robots_forbid", "payment-required": "payment_required"}
    assert result.reasons == {URL: reasons.get(signal, "opted_out")}
    assert not find_canaries(tmp_path)
    row = result.rows[URL]
    assert row["signal"] == signal
    assert row["signal_line"] or "fails" in name
    assert HOST in row["signal_place"]
    assert re.fullmatch(r"20\d\d-\d\d-\d\d", row["signal_read"])
    explained = "\n".join(explain_answer(open_tracer(StageTables(result.data), 10).answer(read_query(URL, ()))))
    assert f"refused by {signal}: {row['signal_line'] or 'no answer'}" in explained
    assert f"said at {row['signal_place']}, read {row['signal_read']}" in explained
    setting = result.read_settings().get(URL)
    assert setting == (None if signal in reasons or "fails" in name else "crawl.consent.uses")


@pytest.mark.parametrize("name", KEPT)
def test_what_says_nothing_of_training_is_kept(tmp_path: Path, name: str) -> None:
    assert crawl(tmp_path, KEPT[name]).reasons == {}


@pytest.mark.parametrize("name", ["robots signal", "header noai", "meta tdm", "XMP of a PNG", "robots licence"])
def test_the_journal_gives_the_same_rows_and_the_time_of_the_first_run(tmp_path: Path, name: str) -> None:
    with serve(REFUSED[name][1]) as site:
        first = run_crawl(tmp_path, make_params(address=site.address, start=[URL]))
        requests = site.requests.total()
        again = run_crawl(tmp_path, make_params(address=site.address, start=[URL]))
        assert site.requests.total() == requests
    assert first.hash_files() == again.hash_files()


def test_uses_and_signals_that_do_not_count_are_settings(tmp_path: Path) -> None:
    routes = picture(Content_Signal="ai-input=no", X_Robots_Tag="noai")
    assert crawl(tmp_path / "a", routes, consent={"ignore": ["noai"]}).reasons == {}
    other = crawl(tmp_path / "b", routes, consent={"uses": ["ai-input"], "ignore": ["noai"]})
    assert other.rows[URL]["signal"] == "content-signal"
    assert crawl(tmp_path / "c", routes, consent={"uses": ["search"]}).reasons == {}


def test_a_signal_that_counts_no_more_is_requested_again(tmp_path: Path) -> None:
    with serve(picture(X_Robots_Tag="noai")) as site:
        for ignore, kept in ([[], 0], [["noai"], 1], [[], 0]):
            params = make_params(address=site.address, start=[URL], consent={"ignore": ignore})
            assert run_crawl(tmp_path, params).outcome.kept == kept
        assert site.requests["/art/a.png"] == 2


def test_a_sitemap_that_is_not_for_an_index_is_read_for_what_it_lists(tmp_path: Path) -> None:
    listing = f'<?xml version="1.0"?><urlset><url><loc>{URL}</loc></url></urlset>'.encode()
    headers = {"Content-Type": "application/xml", "X-Robots-Tag": "noindex, follow"}
    with serve({"/map.xml": Reply(listing, headers=headers), **picture()}) as site:
        result = run_crawl(tmp_path, make_params(address=site.address, start=[f"{START}map.xml"]))
    assert result.reasons == {f"{START}map.xml": "used_as_list"}
    assert URL in result.rows


def test_the_images_of_a_page_that_refuses_them_have_its_evidence(tmp_path: Path) -> None:
    element = '<meta name="robots" content="noimageindex">'
    start = Reply(f'{element}<img src="/art/a.png">'.encode(), headers={"Content-Type": "text/html"})
    with serve({"/": start, **picture()}) as site:
        row = run_crawl(tmp_path, make_params(address=site.address)).rows[URL]
        assert not site.requests["/art/a.png"]
    assert (row["reason"], row["signal"], row["signal_line"]) == ("opted_out", "noimageindex", element)
    assert row["signal_place"] == f"element meta robots of {START}"


PAGES = {
    "span": "<span>{}</span>",
    "nav": "<nav>{}</nav>",
    "text": "Welcome to our site. {}",
    "header": "<header><h2>x</h2></header>{}",
    "image": "<img src=/x.png>{}",
    "form": "<form>{}</form>",
    "comment and custom element": "<!-- a --><my-page>{}</my-page>",
    "server output": "\n\n  Warning: x in y on line 3\n<section>{}",
    "a stray control": "\x08<div>{}</div>",
    "SVG": "<svg xmlns='x'></svg>{}",
    "NULs": "<aside>\0\0</aside>{}",
}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le", "windows-1252"])
@pytest.mark.parametrize("name", PAGES)
def test_what_is_served_as_a_page_is_one(tmp_path: Path, name: str, encoding: str) -> None:
    meta_element, link = '<meta name="robots" content="noai">', '<a href="/next">n</a>'
    content_type = {"Content-Type": "text/html" + ("; charset=utf-16" if encoding == "utf-16-le" else "")}
    bodies = {path: PAGES[name].format(text).encode(encoding) for path, text in (("a", meta_element), ("b", link))}
    routes: dict[str, Route] = {f"/{path}": Reply(body, headers=content_type) for path, body in bodies.items()}
    with serve({**routes, "/next": Reply(b"<p>x</p>", headers=content_type)}) as site:
        result = run_crawl(tmp_path, make_params(address=site.address, start=[f"{START}a", f"{START}b"]))
    assert result.reasons.get(f"{START}a") == "opted_out"
    assert f"{START}next" in result.rows


def test_binary_bytes_served_as_a_page_are_none(tmp_path: Path) -> None:
    routes: dict[str, Route] = {"/art/a.png": Reply(PICTURE, headers={"Content-Type": "text/html"})}
    assert crawl(tmp_path, routes).reasons == {}
