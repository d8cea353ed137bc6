"""Test the pure rules of the crawl: addresses, robots.txt, opt-outs, links."""

import asyncio
from collections.abc import Sequence
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.crawl.addresses import Endpoint, is_public, parse_endpoint
from pipeline.crawl.http_request import HttpResponse, decode_head, encode_head
from pipeline.crawl.links import Link, extract_links
from pipeline.crawl.resolver import AddressRefused, Resolver
from pipeline.crawl.robots import MAX_ROBOTS_BYTES, Robots, read_robots
from pipeline.crawl.wire.requester import read_retry_after
from pipeline.formats.html import parse_html
from pipeline.tables.drops import Reason, Rejection

AGENT = "shardwright"


REFUSED_ADDRESSES = """
0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 100.64.0.1 100.100.100.200 100.127.255.255 127.0.0.1 127.255.255.254
169.254.169.254 169.254.0.1 172.16.0.1 172.31.255.255 192.0.0.1 192.0.0.170 192.0.2.1 192.88.99.1 192.168.0.1
198.18.0.1 198.19.255.255 198.51.100.1 203.0.113.1 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255
:: ::1 ::ffff:127.0.0.1 ::ffff:8.8.8.8 ::ffff:10.0.0.1 ::8.8.8.8 64:ff9b::7f00:1 64:ff9b::808:808 64:ff9b:1::1 100::1
2001::1 2001:0:4136:e378:8000:63bf:3fff:fdd2 2001:2::1 2001:10::1 2001:20::1 2001:db8::1 2002:7f00:1:: 2002:808:808::1
3fff::1 5f00::1 fc00::1 fd00:ec2::254 fe80::1 fec0::1 ff02::1 ff0e::1 4000::1
"""
PUBLIC_ADDRESSES = """
1.1.1.1 8.8.8.8 93.184.215.14 172.32.0.1 192.0.1.1 2606:4700:4700::1111 2a00:1450:4001::1
"""


@pytest.mark.parametrize("address", REFUSED_ADDRESSES.split())
def test_addresses_that_are_refused(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("address", PUBLIC_ADDRESSES.split())
def test_addresses_that_are_public(address: str) -> None:
    assert is_public(ip_address(address))


@pytest.mark.parametrize("text", ["127.0.0.1", "127.0.0.1:0", "127.0.0.1:65536", "name:80", "", ":80"])
def test_texts_that_are_not_endpoints_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        parse_endpoint(text)


class Names:
    """A name server that counts its queries and returns one answer after the other."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.questions = 0

    async def __call__(self, name: str) -> Sequence[str]:
        self.questions += 1
        return self.answers.pop(0)


def find(resolver: Resolver, *urls: str) -> list[Sequence[Endpoint]]:
    async def find_all() -> list[Sequence[Endpoint]]:
        return list(await asyncio.gather(*map(resolver.find, urls)))

    return asyncio.run(find_all())


def test_a_name_is_looked_up_once_and_pinned() -> None:
    names = Names(["93.184.215.14"], ["127.0.0.1"])  # the second answer is an attempt at DNS rebinding
    resolver = Resolver({}, names)
    found = find(resolver, "http://name.test/", "https://name.test/a", "http://name.test:443/b")
    assert [[str(at.address) for at in endpoints] for endpoints in found] == [["93.184.215.14"]] * 3
    assert [endpoints[0].port for endpoints in found] == [80, 443, 443]
    assert names.questions == 1


def test_a_listed_host_has_the_listed_endpoint_for_all_ports() -> None:
    resolver = Resolver({"listed.test": lambda: parse_endpoint("127.0.0.1:8123")})
    found = find(resolver, "http://listed.test/", "http://listed.test:99/")
    assert found == [[parse_endpoint("127.0.0.1:8123")]] * 2


def test_only_the_ports_of_the_web_are_open_on_other_hosts() -> None:
    for port in (22, 25, 81, 3306, 6379, 8080, 9200, 65535):
        with pytest.raises(AddressRefused, match=f"port {port} is neither 80 nor 443"):
            find(Resolver({}, Names()), f"http://name.test:{port}/")


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["93.184.215.14", "::1"], ["10.0.0.1", "93.184.215.14"]])
def test_one_private_address_refuses_the_host(addresses: list[str]) -> None:
    with pytest.raises(AddressRefused):
        find(Resolver({}, Names(addresses)), "http://name.test/")


def test_a_listed_address_is_allowed_on_its_port_only() -> None:
    resolver = Resolver({"127.0.0.1": lambda: parse_endpoint("127.0.0.1:8000")})
    assert find(resolver, "http://127.0.0.1:8000/") == [[parse_endpoint("127.0.0.1:8000")]]
    with pytest.raises(AddressRefused, match="port 8000"):
        find(resolver, "http://127.0.0.1:22/")


def test_a_failed_lookup_is_repeated() -> None:
    class Flaky(Names):
        async def __call__(self, name: str) -> Sequence[str]:
            if not self.questions:
                self.questions += 1
                raise OSError("later")
            return await super().__call__(name)

    async def find_twice() -> Sequence[Endpoint]:
        resolver = Resolver({}, Flaky(["93.184.215.14"]))
        with pytest.raises(OSError, match="later"):
            await resolver.find("http://name.test/")
        return await resolver.find("http://name.test/")

    assert len(asyncio.run(find_twice())) == 1


URL = "http://host.test/private/a"


@pytest.mark.parametrize(
    ("status", "content", "allowed"),
    [
        (200, b"User-agent: *\nDisallow: /private", False),
        (200, b"\xef\xbb\xbfUser-agent: *\nDisallow: /private", False),
        (200, b"User-agent: SHARDWRIGHT\nDisallow: /\n\nUser-agent: *\nAllow: /", False),
        (200, b"User-agent: shardwright\nAllow: /\n\nUser-agent: *\nDisallow: /", True),
        (200, b"User-agent: *\nDisallow: /private\nAllow: /private/a", True),
        (200, b"User-agent: *\nDisallow: /*/a$", False),
        (200, b"User-agent: other\nDisallow: /", True),
        (200, b"", True),
        (200, b"<html>not found</html>", True),
        (200, b"\xff\xfe\x00garbage\x00" * 100, True),
        (200, b"#" * MAX_ROBOTS_BYTES + b"\nUser-agent: *\nDisallow: /", True),
        (200, b"User-agent: *\nDisallow: /\n" + b"#" * MAX_ROBOTS_BYTES, False),
        (200, b"User-agent: *\nCrawl-delay: 86400", False),
        (204, b"", True),
        (301, b"", True),
        (401, b"User-agent: *\nDisallow: /", True),
        (403, b"", True),
        (404, b"User-agent: *\nDisallow: /", True),
        (410, b"", True),
        (429, b"", False),
        (500, b"", False),
        (503, b"User-agent: *\nAllow: /", False),
        (None, b"", False),
    ],
)
def test_robots(status: int | None, content: bytes, allowed: bool) -> None:
    assert (read_robots(status, content, AGENT).judge(URL) is None) == allowed


@given(content=st.binary(max_size=300) | st.text(max_size=200).map(lambda text: f"user-agent: *\n{text}".encode()))
def test_any_bytes_are_a_robots_txt(content: bytes) -> None:
    robots = read_robots(200, content, AGENT)
    robots.judge(URL)
    assert robots.read_delay() >= 0


@pytest.mark.parametrize(("value", "delay"), [("2.5", 2.5), ("nan", 0.0), ("-1", 0.0), ("soon", 0.0)])
def test_crawl_delay(value: str, delay: float) -> None:
    robots = read_robots(200, f"User-agent: *\nCrawl-delay: {value}".encode(), AGENT)
    assert robots.read_delay() == delay
    assert Robots().read_delay() == 0.0


PAGE = "http://host.test/dir/page.html"


def link_urls(html: str, follow: bool = True) -> list[str]:
    return [link.url for link in extract_links(parse_html(html.encode()), PAGE, follow).followed]


def test_links_come_in_document_order_each_once() -> None:
    html = """<a href=b>b</a><img src="/c.png"><audio><source src=d.ogg></audio><video src=e.mp4></video>
    <a href=b#x>again</a><a href="//other.test/">f</a><a>no link</a>"""
    assert link_urls(html) == [
        "http://host.test/dir/b",
        "http://host.test/c.png",
        "http://host.test/dir/d.ogg",
        "http://host.test/dir/e.mp4",
        "http://other.test/",
    ]


def test_a_url_that_is_embedded_and_linked_counts_as_embedded() -> None:
    links = extract_links(parse_html(b'<a href="a.png"><img src="a.png"></a>'), PAGE)
    assert links.followed == (Link("http://host.test/dir/a.png", embedded=True, image=True),)


def test_base_and_nofollow() -> None:
    html = (
        '<base href="/other/"><a href=a></a><a rel="me NoFollow" href=b></a><img src=c><a href="mailto:x@y.test"></a>'
    )
    links = extract_links(parse_html(html.encode()), PAGE)
    assert [link.url for link in links.followed] == ["http://host.test/other/a", "http://host.test/other/c"]
    assert (links.nofollow, links.other_schemes) == (1, 1)
    assert link_urls(html, follow=False) == ["http://host.test/other/c"]
    assert link_urls('<base href="javascript:x"><a href=a></a>') == ["http://host.test/dir/a"]


def test_a_bad_link_is_named_without_its_credentials() -> None:
    (link,) = extract_links(parse_html(b'<a href="http://me:secret@host.test/">'), PAGE).followed
    assert link.fault == "it has credentials"
    assert "secret" not in link.url


@given(html=st.binary(max_size=300))
def test_any_bytes_are_a_page(html: bytes) -> None:
    extract_links(parse_html(html), PAGE)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, 0.0),
        ("", 0.0),
        ("7", 7.0),
        (" 0 ", 0.0),
        ("9" * 400, 999999999.0),
        ("soon", 0.0),
        ("-5", 0.0),
        ("Thu, 01 Jan 1970 00:01:40 GMT", 90.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("Thu, 99 Xyz 1970", 0.0),
        (" " * 20 + "5", 5.0),
        ("Mon, 01 Jan 99999999999 00:00:00 GMT", 0.0),
        ("Mon, 01 Jan 2020 00:00:00 +99999999999999999999999", 0.0),
    ],
)
def test_retry_after(value: str | None, seconds: float) -> None:
    assert read_retry_after(value, now=10.0) == seconds


@given(
    status=st.none() | st.integers(100, 599),
    headers=st.dictionaries(st.text(max_size=9), st.lists(st.text(max_size=9))),
    body=st.binary(max_size=99),
)
def test_response_heads_are_encoded_without_loss(
    status: int | None, headers: dict[str, list[str]], body: bytes
) -> None:
    exchange = HttpResponse(status, headers, body, Rejection(Reason.TIMEOUT, "why", "1", "2") if body else None)
    assert decode_head(encode_head(exchange), body) == exchange
