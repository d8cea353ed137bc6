"""Test responses over TLS: kept ones, cut ones, and servers whose certificate is not for them."""

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from socket import create_server, socket

import pytest

from tests.crawl.test_crawl_faults import SELF_SIGNED
from tests.crawl.wire.faults import BODY, CHUNKED, PLAIN, sized
from tests.support.crawling import HOST, make_params, run_crawl
from tests.support.raw_server import NOT_FOUND

pytestmark = pytest.mark.slow

URL = f"https://{HOST}/"


@contextmanager
def serve_tls(certificate: Path, response: bytes, goodbye: bool) -> Iterator[str]:
    """Send one response, but 404 for all paths but `/`, and close the connection with TLS's goodbye or without."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    def answer(connection: socket) -> None:
        try:
            with context.wrap_socket(connection, server_side=True) as secured:
                asked = secured.recv(4096).startswith(b"GET / ")
                secured.sendall(response if asked else NOT_FOUND)
                if goodbye:
                    secured.unwrap()
        except OSError:  # the client refused the certificate or did not say goodbye
            return

    def answer_all() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:  # closed
                return
            answer(connection)

    with create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer_all, daemon=True)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(2)
        thread.join()


@pytest.fixture
def certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A certificate of `site.test` that the system trusts."""
    path = tmp_path / "self.pem"
    path.write_text(SELF_SIGNED)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    return path


@pytest.mark.parametrize(
    ("response", "goodbye", "reason"),
    [
        (sized(BODY), True, None),
        (sized(BODY), False, None),
        (PLAIN + BODY, True, None),
        (PLAIN + BODY, False, "truncated_body"),
        (CHUNKED + b"64\r\n" + BODY, False, "truncated_body"),
        (sized(BODY + bytes(1 << 20)), True, None),
        (b"", False, "connection_failed"),
        (sized(bytes(3 << 20)), True, "too_large"),
    ],
)
def test_responses_over_tls(
    tmp_path: Path, certificate: Path, response: bytes, goodbye: bool, reason: str | None
) -> None:
    with serve_tls(certificate, response, goodbye) as address:
        result = run_crawl(tmp_path, make_params(start=[URL], address=address, max_bytes=2 << 20, timeout=20.0))
    assert result.reasons == ({URL: reason} if reason else {})
    assert reason or result.read_body(URL).startswith(BODY)


def test_a_certificate_is_for_its_host_alone(tmp_path: Path, certificate: Path) -> None:
    with serve_tls(certificate, sized(BODY), goodbye=True) as address:
        result = run_crawl(tmp_path, make_params(start=["https://other.test/"], hosts={"other.test": address}))
    assert result.reasons == {"https://other.test/": "tls_failed"}
