"""Test that slow, broken, hostile and opted-out responses are dropped with their reasons."""

import gzip
import resource
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.crawling import HOST, START, Crawl, make_params, run_crawl
from tests.support.loopback import Reply, Route, page, serve

pytestmark = pytest.mark.slow

IMAGE = Reply(b"\x89PNG\r\n\x1a\n" + bytes(100), headers={"Content-Type": "image/png"})


def fetch(tmp_path: Path, route: Route, **changes: object) -> tuple[Crawl, int]:
    """Crawl a single URL; return the crawl and the number of requests."""
    with serve({"/": route}) as site:
        result = run_crawl(tmp_path, make_params(address=site.address, **changes))
        return result, site.requests["/"]


@pytest.mark.parametrize(
    ("reply", "reason", "requests"),
    [
        (Reply(status=404), "http_error", 1),
        (Reply(status=410), "http_error", 1),
        (Reply(status=204), "http_error", 1),
        (Reply(status=304), "http_error", 1),
        (Reply(status=429), "http_error", 3),
        (Reply(status=500), "http_error", 3),
        (Reply(status=503, headers={"Retry-After": "0"}), "http_error", 3),
        (Reply(status=503, headers={"Retry-After": "86400"}), "http_error", 1),
        (Reply(b"half", length=100), "truncated_body", 3),
        (Reply(gzip.compress(bytes(5000))[:-20], headers={"Content-Encoding": "gzip"}), "truncated_body", 3),
        (Reply(gzip.compress(b"text " * 50)[:-4], headers={"Content-Encoding": "gzip"}), "truncated_body", 3),
        (Reply(b"no gzip", headers={"Content-Encoding": "gzip"}), "truncated_body", 3),
        (Reply(b"brotli", headers={"Content-Encoding": "br"}), "http_error", 1),
        (Reply(bytes(2000)), "too_large", 1),
        (Reply(endless=True), "too_large", 1),
        (Reply(gzip.compress(b"text"), headers={"Content-Encoding": "gzip"}, endless=True), "too_large", 1),
        (Reply(status=301), "http_error", 1),
        (Reply(status=301, headers={"Location": "/"}), "redirect_refused", 1),
        (Reply(status=302, headers={"Location": "file:///etc/passwd"}), "redirect_refused", 1),
        (Reply(status=302, headers={"Location": "data:text/plain,x"}), "redirect_refused", 1),
        (Reply(status=302, headers={"Location": "ftp://site.test/"}), "redirect_refused", 1),
        (Reply(status=302, headers={"Location": "http://me:secret@site.test/a"}), "redirect_refused", 1),
        (Reply(status=307, headers={"Location": "http://169.254.169.254/latest/meta-data"}), "address_refused", 1),
        (Reply(status=308, headers={"Location": "http://[::1]/"}), "address_refused", 1),
        (Reply(status=303, headers={"Location": "http://2130706433/"}), "address_refused", 1),
        (Reply(b"x", headers={"X-Robots-Tag": "NoAI"}), "opted_out", 1),
        (Reply(IMAGE.body, headers={"X-Robots-Tag": "noimageai"}), "opted_out", 1),
        (Reply(b"x", headers={"TDM-Reservation": "1"}), "opted_out", 1),
        (page("", head='<meta name="robots" content="noai">'), "opted_out", 1),
    ],
)
def test_each_bad_response_has_its_reason(tmp_path: Path, reply: Reply, reason: str, requests: int) -> None:
    result, counted = fetch(tmp_path, reply, max_bytes=1000, backoff=0.0)
    assert result.reasons == {START: reason}
    assert counted == requests
    assert [path.name for path in sorted(result.folder.iterdir())] == ["crawl", "dropped", "list_rows"]
    assert "secret" not in str(result.rows)


def test_a_changed_limit_gives_the_dropped_rows_of_a_fresh_run(tmp_path: Path) -> None:
    with serve({"/": Reply(bytes(2000))}) as site:
        for max_bytes in (1000, 500):
            again = run_crawl(tmp_path, make_params(address=site.address, max_bytes=max_bytes))
        fresh = run_crawl(tmp_path / "fresh", make_params(address=site.address, max_bytes=500))
        assert site.requests["/"] == 2
    assert again.drops == fresh.drops


def test_opt_outs_for_one_agent_do_not_apply_to_another(tmp_path: Path) -> None:
    with serve({"/": page("", head='<meta name="otherbot" content="noai">')}) as site:
        assert run_crawl(tmp_path, make_params(address=site.address)).outcome.kept == 1
        other = run_crawl(tmp_path, make_params(address=site.address, agent="otherbot/1"))
        assert site.requests["/"] == 1
    assert other.reasons == {START: "opted_out"}


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_compressed_response_is_stored_decompressed(tmp_path: Path, encoding: str) -> None:
    body = gzip.compress(b"text " * 100) if encoding == "gzip" else zlib.compress(b"text " * 100)
    result, _ = fetch(tmp_path, Reply(body, headers={"Content-Encoding": encoding}))
    assert result.read_body(START) == b"text " * 100


def test_opted_out_bytes_are_stored_nowhere(tmp_path: Path) -> None:
    secret = b"\x89PNG\r\n\x1a\n not for machines"
    result, _ = fetch(tmp_path, Reply(secret, headers={"X-Robots-Tag": "noai"}))
    assert result.drops[0].detail == "X-Robots-Tag: noai"
    assert not any(b"not for machines" in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_images_of_a_page_with_noimageai_are_opted_out(tmp_path: Path) -> None:
    routes: dict[str, Route] = {
        "/": page('<img src="/a.png"><audio src="/a.ogg"></audio><a href="/free">f</a>', X_Robots_Tag="noimageai"),
        "/free": page('<img src="/a.png"><img src="/b.png">'),
        "/a.png": IMAGE, "/b.png": IMAGE, "/a.ogg": Reply(b"OggS"),
    }  # fmt: skip
    with serve(routes) as site:
        result = run_crawl(tmp_path, make_params(address=site.address))
        assert not site.requests["/a.png"]
    assert result.reasons == {f"{START}a.png": "opted_out"}


def test_links_of_a_page_with_nofollow_are_not_followed(tmp_path: Path) -> None:
    body = '<a href="/next">n</a><img src="/a.png">'
    routes: dict[str, Route] = {"/": page(body, X_Robots_Tag="nofollow"), "/next": page(""), "/a.png": IMAGE}
    with serve(routes) as site:
        result = run_crawl(tmp_path, make_params(address=site.address))
        assert not site.requests["/next"]
    assert list(result.rows) == [START, f"{START}a.png"]
    assert result.parts[0].count == 1


def test_the_timeout_is_for_the_whole_response(tmp_path: Path) -> None:
    result, requests = fetch(tmp_path, Reply(bytes(600), drip=0.1), timeout=2.0)  # of a minute
    assert result.reasons == {START: "timeout"}
    assert requests == 1


def test_a_decompression_bomb_stops_at_the_limit(tmp_path: Path) -> None:
    bomb = gzip.compress(bytes(300 << 20), 1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result, _ = fetch(tmp_path, Reply(bomb, headers={"Content-Encoding": "gzip"}), max_bytes=1 << 20)
    assert result.reasons == {START: "too_large"}
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10  # KiB


def test_a_temporary_error_is_retried(tmp_path: Path) -> None:
    def respond(before: int) -> Reply:
        return IMAGE if before else Reply(status=503, headers={"Retry-After": "0"})

    result, requests = fetch(tmp_path, respond)
    assert not result.drops
    assert requests == 2


def test_retry_after_is_respected(tmp_path: Path) -> None:
    start = time.monotonic()
    fetch(tmp_path, lambda before: IMAGE if before else Reply(status=429, headers={"Retry-After": "1"}))
    assert time.monotonic() - start >= 1.0


def test_too_many_redirects_are_refused(tmp_path: Path) -> None:
    routes: dict[str, Route] = {
        f"/{number}": Reply(status=301, headers={"Location": f"/{number + 1}"}) for number in range(9)
    }
    routes |= {"/": page('<a href="/3">six hops</a><a href="/4">five hops</a>'), "/9": IMAGE}
    with serve(routes) as site:
        result = run_crawl(tmp_path, make_params(address=site.address))
        assert max(site.requests.values()) == 1  # targets are fetched once for both
    assert result.reasons == {f"{START}3": "redirect_refused"}
    assert result.rows[f"{START}4"]["final_url"] == f"{START}9"


def test_robots_txt_is_asked_for_each_redirect(tmp_path: Path) -> None:
    moved: dict[str, Route] = {"/": Reply(status=301, headers={"Location": "http://other.test/private"})}
    forbidden: dict[str, Route] = {"/robots.txt": Reply(b"User-agent: *\nDisallow: /private"), "/private": IMAGE}
    with serve(moved) as site, serve(forbidden) as other:
        result = run_crawl(tmp_path, make_params(hosts={HOST: site.address, "other.test": other.address}))
        assert not other.requests["/private"]
    assert result.reasons == {START: "robots_forbid"}


@pytest.mark.parametrize(
    ("robots", "reason"),
    [
        (Reply(b"User-agent: *\nDisallow: /"), "robots_forbid"),
        (Reply(status=403), None),
        (Reply(status=500), "robots_forbid"),
        (Reply(delay=60.0), "robots_forbid"),
        (Reply(b"User-agent: *\nDisallow: /" + b"\n#" * (1 << 20)), "robots_forbid"),
        (Reply(status=301, headers={"Location": "/elsewhere"}), "robots_forbid"),
        (Reply(status=301, headers={"Location": "/robots.txt"}), None),
        (Reply(b"User-agent: *\nDisallow:", length=1000), "robots_forbid"),
    ],
)
def test_robots(tmp_path: Path, robots: Reply, reason: str | None) -> None:
    routes: dict[str, Route] = {"/": IMAGE, "/robots.txt": robots, "/elsewhere": Reply(b"User-agent: *\nDisallow: /")}
    with serve(routes) as site:
        result = run_crawl(tmp_path, make_params(address=site.address, timeout=2.0 if robots.delay else 20.0))
        assert site.requests["/"] == (reason is None)
    assert result.reasons.get(START) == reason


def test_requests_at_a_time_are_limited(tmp_path: Path) -> None:
    images = [f"/{number}.png" for number in range(20)]
    routes: dict[str, Route] = {"/": page("".join(f'<img src="{path}">' for path in images))}
    routes |= dict.fromkeys(images, Reply(IMAGE.body, delay=0.02))
    with serve(routes) as site:
        run_crawl(tmp_path, make_params(address=site.address, per_host=3))
    assert site.most_busy <= 3


@pytest.mark.parametrize(("delay", "robots"), [(0.3, b""), (0.0, b"User-agent: shardwright\nCrawl-delay: 0.3")])
def test_requests_are_delayed(tmp_path: Path, delay: float, robots: bytes) -> None:
    routes: dict[str, Route] = {"/": page('<img src="/1"><img src="/2"><img src="/3">'), "/robots.txt": Reply(robots)}
    with serve({**routes, "/1": IMAGE, "/2": IMAGE, "/3": IMAGE}) as site:
        run_crawl(tmp_path, make_params(address=site.address, delay=delay))
    pauses = [after - before for before, after in zip(site.times[1:], site.times[2:], strict=False)]
    assert min(pauses) > 0.15  # starts are 0.3 apart, arrivals less exactly


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:{port}/", "http://127.1:{port}/", "http://0x7f.1:{port}/", "http://[::ffff:127.0.0.1]:{port}/",
            "http://2130706433:{port}/", "http://0177.0.0.1:{port}/", "http://localhost:{port}/"],
)  # fmt: skip
def test_addresses_of_this_machine_are_refused(tmp_path: Path, url: str) -> None:
    with serve({"/": IMAGE}) as site:
        result = run_crawl(tmp_path, make_params(start=[url.format(port=site.server_port)]))
        assert not site.requests
    assert list(result.reasons.values()) == ["address_refused"]


def test_a_listed_host_may_have_a_private_address(tmp_path: Path) -> None:
    with serve({"/": IMAGE}) as site:
        url = f"http://localhost:{site.server_port}/"
        assert run_crawl(tmp_path, make_params(start=[url])).reasons == {url: "address_refused"}
        assert not run_crawl(tmp_path, make_params(start=[url], hosts={"localhost": site.address})).reasons


def test_a_closed_port_and_an_unknown_name_fail_to_connect(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{closed.getsockname()[1]}"
        start = [START, "http://name.invalid/"]  # RFC 6761: names under .invalid do not resolve
        result = run_crawl(tmp_path, make_params(start=start, address=address))
    assert set(result.reasons.values()) == {"connection_failed"}


def test_a_server_that_does_not_speak_http_fails_to_connect(tmp_path: Path) -> None:
    with serve_raw(b"SSH-2.0-OpenSSH_9.2\r\n") as address:
        result = run_crawl(tmp_path, make_params(address=address))
    assert result.reasons == {START: "connection_failed"}


def test_an_unknown_certificate_is_never_accepted(tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    (tmp_path / "self.pem").write_text(SELF_SIGNED)
    context.load_cert_chain(tmp_path / "self.pem")
    with serve({"/": IMAGE}) as site:
        site.socket = context.wrap_socket(site.socket, server_side=True)
        result = run_crawl(tmp_path, make_params(start=[f"https://{HOST}/"], address=site.address))
    assert list(result.reasons.values()) == ["tls_failed"]


def test_http_and_https_of_a_host_have_a_robots_txt_each(tmp_path: Path) -> None:
    with serve({"/": IMAGE}) as site:
        params = make_params(start=[f"https://{HOST}/", START], address=site.address, per_host=1)
        result = run_crawl(tmp_path, params)
    assert list(result.reasons) == [f"https://{HOST}/"]
    assert result.outcome.kept == 1


@contextmanager
def serve_raw(content: bytes) -> Iterator[str]:
    """Listen, send `content` to every client and close the connection."""
    listener = socket.create_server(("127.0.0.1", 0))

    def send_to_all() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:  # closed
                return
            with connection:
                connection.sendall(content)

    thread = threading.Thread(target=send_to_all, daemon=True)
    thread.start()
    yield f"127.0.0.1:{listener.getsockname()[1]}"
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


SELF_SIGNED = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg1EDBXu7QwpZEIgx/
SY+eipO8K1XTaKhmU6H4i4cWTUyhRANCAATQFsbfJ7jQEaRq8CxFuaTs1VhIRmgq
+V0tCTnX/QK9hHh55h2tbtx22WTWMgQHUSHV/HcCePiMFd3nb57xIGuU
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBlTCCATugAwIBAgIUaaUoVaMUcQZzmKo6DleStCQCRcQwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJc2l0ZS50ZXN0MCAXDTI2MTEyMjExMjgwMFoYDzIxMjYxMDI5
MTEyODAwWjAUMRIwEAYDVQQDDAlzaXRlLnRlc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAATQFsbfJ7jQEaRq8CxFuaTs1VhIRmgq+V0tCTnX/QK9hHh55h2tbtx2
2WTWMgQHUSHV/HcCePiMFd3nb57xIGuUo2kwZzAdBgNVHQ4EFgQUwsrbmTrk9en7
IqVqcBocNsof3iQwHwYDVR0jBBgwFoAUwsrbmTrk9en7IqVqcBocNsof3iQwDwYD
VR0TAQH/BAUwAwEB/zAUBgNVHREEDTALgglzaXRlLnRlc3QwCgYIKoZIzj0EAwID
SAAwRQIhAK0nV0cOcD5XPi2JIo54nHIqihzeTnhQtWrejlsgUeVnAiAX01XDwu4M
sb9gfxFSy7GFZ8p0RQXMbXpXGMNCiUX/NQ==
-----END CERTIFICATE-----
"""
"""Self-signed key and certificate of `site.test`, for this test only. Made by `openssl req -x509 -newkey ec
-pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=site.test -addext subjectAltName=DNS:site.test -days 36500`."""
