"""Test that a journal returns stored responses unchanged, whatever happened to its files or their writers."""

import hashlib
import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.crawl.http_request import HttpResponse
from pipeline.crawl.journal import MAGIC, Journal
from pipeline.tables.blob_store import TarReader
from tests.support.running import ROOT

pytestmark = pytest.mark.slow

BODIES = st.binary(max_size=60) | st.binary(max_size=20).map(lambda tail: MAGIC + tail + MAGIC)
WRITES = st.lists(st.tuples(st.sampled_from("abcdef"), BODIES), min_size=1, max_size=8)


def make_response(body: bytes) -> HttpResponse:
    return HttpResponse(200, {"content-type": ["text/plain"]}, body)


def write_runs(folder: Path, runs: Sequence[Sequence[tuple[str, bytes]]]) -> dict[str, bytes]:
    """Write each run's responses to a file of its own; return the last body of each key."""
    last: dict[str, bytes] = {}
    for run in runs:
        with Journal(folder) as journal:
            for key, body in run:
                journal.write(key, make_response(body))
                last[key] = body
    return last


def read_keys(folder: Path, keys: Sequence[str] = tuple("abcdef")) -> dict[str, bytes]:
    found = {}
    with Journal(folder) as journal:
        for key in keys:
            response = journal.read(key)
            if response is not None:
                assert response == make_response(response.body)
                body = journal.find_body(key)
                assert body is not None
                assert body.sha256 == hashlib.sha256(response.body).hexdigest()
                with TarReader(folder) as reader:
                    assert reader.read(body.location) == response.body
                found[key] = response.body
    return found


@given(st.lists(WRITES, max_size=3))
def test_the_last_response_for_a_key_is_read(runs: list[list[tuple[str, bytes]]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        last = write_runs(Path(folder), runs)
        assert read_keys(Path(folder)) == last


def test_a_journal_reads_its_own_writes(tmp_path: Path) -> None:
    with Journal(tmp_path / "new") as journal:
        assert journal.read("a") is None
        for body in (b"1", b"22", b"1"):
            journal.write("a", make_response(body))
            response = journal.read("a")
            assert response is not None
            assert response.body == body


def test_a_run_without_new_responses_writes_no_file(tmp_path: Path) -> None:
    with Journal(tmp_path / "new") as journal:
        assert journal.read("a") is None
    assert list(tmp_path.iterdir()) == []


@given(BODIES, st.data())
@settings(max_examples=300)
def test_damage_loses_only_the_response_it_is_in(body: bytes, data: st.DataObject) -> None:
    """Wherever a bit is wrong or bytes are cut off, no other response is lost, and no wrong one is returned."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_runs(folder, [[(key, body + key.encode()) for key in "abc"]])
        (path,) = folder.iterdir()
        content = path.read_bytes()
        size = len(content) // 3
        at = data.draw(st.integers(0, len(content) - 1))
        if data.draw(st.booleans()):
            path.write_bytes(content[:at])
            whole = set("abc"[: at // size])
        else:
            path.write_bytes(
                content[:at] + bytes([content[at] ^ (1 << data.draw(st.integers(0, 7)))]) + content[at + 1 :]
            )
            whole = set("abc") - {"abc"[at // size]}
        assert read_keys(folder) == {key: body + key.encode() for key in whole}


def test_files_that_are_not_journals_have_no_responses(tmp_path: Path) -> None:
    (tmp_path / "0.answers").write_bytes(os.urandom(5000))
    (tmp_path / "1.answers").write_bytes(b"")
    (tmp_path / "2.answers").write_bytes(MAGIC * 100)
    last = write_runs(tmp_path, [[("a", b"1")]])
    assert read_keys(tmp_path) == last


def test_several_processes_write_at_a_time(tmp_path: Path) -> None:
    with Journal(tmp_path) as one, Journal(tmp_path) as other:
        one.write("a", make_response(b"1"))
        other.write("b", make_response(b"2"))
        one.write("c", make_response(b"3"))
    assert read_keys(tmp_path) == {"a": b"1", "b": b"2", "c": b"3"}


WRITER = """
import sys
from pathlib import Path
from tests.crawl.test_journal import Journal, make_response
with Journal(Path(sys.argv[1])) as journal:
    number = 0
    while True:
        journal.write(str(number), make_response(b"x" * 100_000))
        print(number, flush=True)
        number += 1
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits the size of files")
def test_a_full_disk_and_a_kill_leave_complete_responses(tmp_path: Path) -> None:
    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_050_000, 1_050_000))

    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    full = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, preexec_fn=limit, check=False)
    assert "OSError" in full.stderr or "File too large" in full.stderr
    assert full.stdout.split() == [str(number) for number in range(10)]
    keys = [str(number) for number in range(20)]
    assert list(read_keys(tmp_path, keys)) == keys[:10]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        written = [process.stdout.readline().strip() for _ in range(13)]
        process.kill()
    assert set(written) <= set(read_keys(tmp_path, keys))
