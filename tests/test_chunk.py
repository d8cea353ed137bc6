"""Chunks of items that end processes: what was finished on the way is in the cache, and not computed ever again."""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pipeline.cache.find import Found, split_prints
from pipeline.cache.objects import Objects
from pipeline.cache.reader import EntryReader
from pipeline.cache.remains import Remains
from pipeline.cache.rows import Entry
from pipeline.chunk import ChunkResult
from pipeline.execute import Workers, open_workers
from pipeline.isolate.items import UNTOUCHED
from pipeline.params import RunParams
from pipeline.records import Reason, Rejection
from tests.poison import POISONS, PoisonChunk, compute_poison, make_chunk

LOST = [Rejection(Reason.TIMEOUT, "it hangs")]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes in /proc")


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    run = RunParams(workers=2, memory="128 MiB", item_seconds=2, cache=".cache", progress=False)
    with open_workers(run, tasks=100) as opened:
        yield opened


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    (tmp_path / "cache/work").mkdir(parents=True)
    (tmp_path / "done").mkdir()
    return tmp_path / "cache"


def read_all(chunk: PoisonChunk, result: ChunkResult) -> dict[int, str]:
    """What the packs say of each item."""
    objects = Objects(chunk.cache, chunk.work)
    found = Found(np.sort(chunk.prints))
    for name in result.packs:
        found.add(name, objects.read_rows(name))
    order = np.argsort(chunk.prints)
    said = {}
    with EntryReader(objects) as reader:
        for at, fingerprint in enumerate(split_prints(found.wanted)):
            if found.objects[at] >= 0:
                entry = reader.read(found.names[found.objects[at]], int(found.rows[at]), fingerprint)
                said[int(order[at])] = entry.pieces[0].decode()
    return said


@pytest.mark.parametrize(
    "kinds",
    [
        ["good"] * 12,
        ["good"] * 20 + ["falls"] + ["good"] * 20,
        (["good"] * 9 + ["falls"] + ["good"] * 9 + ["grows"]) * 3 + ["good"] * 5,
        ["falls", "leaves", "falls"],
    ],
)
def test_every_good_item_is_stored_and_computed_three_times_at_most(
    kinds: list[str], workers: Workers, cache: Path
) -> None:
    """In the first try; in the second, which keeps what it finishes; and what was finished just before a death."""
    done = cache.parent / "done"
    chunk = make_chunk("a", kinds, cache, seconds=0.01, folder=done)
    [(_, result)] = workers.run_tasks(compute_poison, [chunk])
    good = {number for number, kind in enumerate(kinds) if kind == "good"}
    assert read_all(chunk, result) == {number: f"a-{number}" for number in good}
    assert {at: rejection.reason for at, rejection in result.lost.items()} == {
        at: POISONS[kind][1] for at, kind in enumerate(kinds) if kind != "good"
    }
    tries = [(done / f"a-{number}").stat().st_size for number in sorted(good)] or [0]
    assert max(tries) <= (1 if len(good) == len(kinds) else 3)


def test_a_chunk_that_nothing_happens_to_leaves_one_pack_and_no_list(workers: Workers, cache: Path) -> None:
    chunk = make_chunk("a", ["good"] * 12, cache, seconds=0.01)
    [(_, result)] = workers.run_tasks(compute_poison, [chunk])
    assert len(result.packs) == 1
    assert list(chunk.work.iterdir()) == []


def test_remains_that_are_damaged_are_computed_again(cache: Path) -> None:
    """One pack is gone, one has other bytes, and the list ends in the middle of a name."""
    objects = Objects(cache, cache / "work")
    first, second, third = (Entry(bytes([number]) * 32, [b"value %d" % number]) for number in (1, 2, 3))
    before = Remains(objects, b"task", LOST)
    packs: list[str] = []
    for entry in (first, second, third):
        before.add([entry])
        packs = list(before.store())
    objects.find_path(packs[0]).unlink()
    path = objects.find_path(packs[1])
    path.write_bytes(path.read_bytes()[::-1])
    (listed,) = (cache / "work").iterdir()
    with listed.open("a") as file:
        file.write("0123")
    after = Remains(objects, b"task", LOST)
    assert first.fingerprint not in after
    assert [(entry.fingerprint, list(entry.pieces)) for entry in after.read()] == [(third.fingerprint, [b"value 3"])]
    assert list(Remains(objects, b"other", LOST).read()) == []
    assert list(Remains(objects, b"task", []).read()) == []
    assert list(Remains(objects, b"task", [*LOST, UNTOUCHED]).read()) == []
