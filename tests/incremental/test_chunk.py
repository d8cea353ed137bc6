"""Chunks with items that kill their process: what was finished meanwhile is in the cache, and not computed again."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.config.params import RunParams
from pipeline.incremental.compute_chunk import ChunkResult
from pipeline.incremental.object_store import ObjectStore
from pipeline.runtime.executor import Executor, open_executor
from tests.support.cached_entries import read_pack
from tests.support.poison import POISONS, PoisonChunk, compute_poison, make_chunk

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="looks at processes in /proc")]


@pytest.fixture(scope="module")
def workers() -> Iterator[Executor]:
    run = RunParams(workers=2, memory="128 MiB", item_seconds=3, cache=".cache", progress=False)
    with open_executor(run, tasks=100) as opened:
        yield opened


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    (tmp_path / "cache/work").mkdir(parents=True)
    (tmp_path / "done").mkdir()
    return tmp_path / "cache"


def read_all(chunk: PoisonChunk, result: ChunkResult) -> dict[int, str]:
    """Return the entry of each item in the pack."""
    if result.pack is None:
        return {}
    found = read_pack(ObjectStore(chunk.cache, chunk.work), result.pack)
    keys = list_keys(chunk)
    return {number: found[key].pieces[0].decode() for number, key in enumerate(keys) if key in found}


def list_keys(chunk: PoisonChunk) -> list[bytes]:
    keys: list[bytes] = chunk.rows["key"].to_pylist()
    return keys


@pytest.mark.parametrize(
    "kinds",
    [
        ["good"] * 12,
        ["good"] * 20 + ["falls"] + ["good"] * 20,
        (["good"] * 9 + ["falls"] + ["good"] * 9 + ["grows"]) * 3 + ["good"] * 5,
        ["falls", "leaves", "falls"],
    ],
)
def test_every_good_item_is_stored_and_only_those_just_before_a_death_are_computed_again(
    kinds: list[str], workers: Executor, cache: Path
) -> None:
    done = cache.parent / "done"
    chunk = make_chunk("a", kinds, cache, seconds=0.01, folder=done)
    [(_, result)] = workers.run_tasks(compute_poison, [chunk])
    good = {number for number, kind in enumerate(kinds) if kind == "good"}
    assert read_all(chunk, result) == {number: f"a-{number}" for number in good}
    keys = list_keys(chunk)
    assert {keys.index(key): rejection.reason for key, rejection in result.lost.items()} == {
        at: POISONS[kind][1] for at, kind in enumerate(kinds) if kind != "good"
    }
    tries = [(done / f"a-{number}").stat().st_size for number in sorted(good)] or [0]
    bad = len(kinds) - len(good)
    assert max(tries) <= (3 if bad else 1)
    assert sum(tries) <= len(good) + 2 * bad
    assert list(chunk.work.iterdir()) == []


def test_entries_before_a_suspect_that_is_not_to_blame_are_computed_again(workers: Executor, cache: Path) -> None:
    """The process died at it, and alone it does well: an earlier item may have corrupted the memory."""
    done = cache.parent / "done"
    chunk = make_chunk("a", ["good"] * 8 + ["first falls"] + ["good"] * 4, cache, seconds=0.02, folder=done)
    [(_, result)] = workers.run_tasks(compute_poison, [chunk])
    assert result.lost == {}
    assert read_all(chunk, result) == {number: f"a-{number}" for number in range(13)}
    tries = [(done / f"a-{number}").stat().st_size for number in range(13)]
    assert tries == [2] * 8 + [3] + [1] * 4
