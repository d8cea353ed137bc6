"""Inline features, computed with their shards: the same bytes as from chunks, each computed once, none lost."""

import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.errors import MachineDrops
from pipeline.extract import assemble_shard, compute_features, step
from pipeline.extract.feature_reader import FeatureReader
from pipeline.extract.make_shard import ShardTask, make_shard
from pipeline.incremental import growing_pack
from pipeline.incremental.object_store import PACK, ObjectStore
from pipeline.runtime.executor import Executor, open_executor
from pipeline.runtime.sandbox.heartbeat import UNTOUCHED
from pipeline.tables.contracts import DROPPED, EXTRACT_FOLDER, SHARDS_FOLDER
from pipeline.tables.drops import Reason, Rejection
from pipeline.tables.table_files import read_table
from shardwright.format.encode import EncodedSample, ShardBuilder
from tests.support.factory_extract import (
    Thing,
    draw_item,
    make_params,
    make_run,
    make_things,
    plan_tasks,
    run_extract,
    write_corpus,
)
from tests.support.running import hash_files

pytestmark = pytest.mark.slow

PARAMS = make_params(shards=8, max_dropped=0.9)


@pytest.fixture
def with_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """However few the shards are, their features are computed with them."""
    monkeypatch.setattr(compute_features, "MIN_SHARDS", 1)


def count_features(notes: Sequence[str]) -> str:
    return next(note for note in notes if note.startswith("features: "))


def give_corpus(folder: Path, things: Sequence[Thing]) -> None:
    """A corpus in place of the one that was there."""
    shutil.rmtree(folder / "data", ignore_errors=True)
    write_corpus(folder / "data", things)


@pytest.fixture(params=[0, 2])
def executor(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Executor]:
    with open_executor(make_run(tmp_path / "cache", workers=request.param), tasks=100) as opened:
        yield opened


def test_the_same_bytes_as_from_chunks(executor: Executor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The runs share their workers, which take longer to start."""
    monkeypatch.setattr(step, "open_executor", lambda *_: nullcontext(executor))
    things = [*make_things(40), Thing("broken", contents={"image": b"\x89PNG but not really"})]
    things += [Thing(f"shared-{n}", contents={"image": draw_item("one", "image")}) for n in range(3)]
    made = {}
    for shards in (1, 10**6):
        monkeypatch.setattr(compute_features, "MIN_SHARDS", shards)
        folder = tmp_path / str(shards)
        write_corpus(folder / "data", things)
        outcome = run_extract(folder, PARAMS)
        made[shards] = hash_files(folder / "data" / SHARDS_FOLDER), hash_files(folder / "data" / EXTRACT_FOLDER)
        # 44 audio files, 44 texts, and 42 images: three samples share one.
        assert count_features(outcome.notes) == "features: 0 reused, 130 computed (44 audio, 42 image, 44 text)"
        again = run_extract(folder, PARAMS)
        assert count_features(again.notes) == "features: 130 reused, 0 computed"
    assert made[1] == made[10**6]


@pytest.mark.usefixtures("with_shards")
def test_what_is_in_no_shard_is_kept(tmp_path: Path) -> None:
    """The audio of a sample that its image drops, and the verdict on the image."""
    give_corpus(tmp_path, [*make_things(8), Thing("broken", contents={"image": b"no image"})])
    run_extract(tmp_path, PARAMS)
    objects = ObjectStore(tmp_path / "cache", tmp_path / "cache/work")
    packed = sum(len(objects.read_rows(name).entries) for name in objects.list_names() if name.endswith(PACK))
    assert packed == 9 + 2, "the words of all texts, and these two; all else is in shards only"
    give_corpus(tmp_path, [*make_things(8), Thing("broken", "val", contents={"image": b"no image"})])
    outcome = run_extract(tmp_path, PARAMS)
    assert count_features(outcome.notes) == "features: 27 reused, 0 computed"


@pytest.mark.usefixtures("with_shards")
def test_a_new_sample_is_all_that_is_computed(tmp_path: Path) -> None:
    give_corpus(tmp_path, make_things(40))
    run_extract(tmp_path, PARAMS)
    give_corpus(tmp_path, [*make_things(40), Thing("new")])
    outcome = run_extract(tmp_path, PARAMS)
    assert count_features(outcome.notes) == "features: 120 reused, 3 computed (1 audio, 1 image, 1 text)"


@pytest.mark.usefixtures("with_shards")
@pytest.mark.skipif(sys.platform != "linux", reason="looks at memory in /proc")
def test_poison_is_lost_alone_and_all_else_is_kept(tmp_path: Path) -> None:
    large = bytes(cv2.imencode(".png", np.zeros((10_000, 10_000), np.uint8))[1])
    give_corpus(tmp_path, [*make_things(24), Thing("large", contents={"image": large})])
    with pytest.raises(MachineDrops):
        run_extract(tmp_path, PARAMS, 1, memory="250 MiB")
    outcome = run_extract(tmp_path, PARAMS, 1, memory="250 MiB", allow_machine_drops=True)
    assert count_features(outcome.notes) == "features: 74 reused, 1 computed (1 image)"
    dropped = read_table(tmp_path / "data" / EXTRACT_FOLDER / "dropped", DROPPED)
    assert [(row["key"], row["reason"]) for row in dropped] == [("large", "memory")]


@pytest.mark.usefixtures("with_shards")
def test_an_item_that_runs_alone_writes_no_shard(tmp_path: Path) -> None:
    give_corpus(tmp_path, make_things(40))
    task = plan_tasks(tmp_path, PARAMS)[0]
    alone = task.lose_items(dict.fromkeys(range(1, task.count_items()), UNTOUCHED))
    assert make_shard(alone).shard.written is None
    assert not task.path.exists()
    assert make_shard(task).shard.written is not None


def end_before_it_is_whole(task: ShardTask) -> None:
    """Let a try of the task end where it has computed all features, just before its shard has its name."""

    def end(path: Path, builder: ShardBuilder, samples: Iterable[EncodedSample], read_back: bool) -> None:
        assert len(list(samples)) > 1
        raise InterruptedError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(growing_pack, "FLUSH_SECONDS", -1)  # a process that dies takes the last 10 ms with it
        patch.setattr(assemble_shard, "write_encoded", end)
        with pytest.raises(InterruptedError):
            make_shard(task)


def plan_task_with_a_lost_item(folder: Path) -> ShardTask:
    give_corpus(folder, make_things(40))
    largest = max(plan_tasks(folder, PARAMS), key=ShardTask.count_items)
    return largest.lose_items({1: Rejection(Reason.TIMEOUT, "it hangs")})


@pytest.mark.usefixtures("with_shards")
def test_what_a_task_computed_once_it_had_lost_an_item_its_next_try_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = plan_task_with_a_lost_item(tmp_path)
    first, content = make_shard(task), task.path.read_bytes()
    task = plan_task_with_a_lost_item(tmp_path)
    end_before_it_is_whole(task)
    monkeypatch.setattr(FeatureReader, "compute", lambda *_: pytest.fail("it has this feature"))
    again = make_shard(task)
    assert task.path.read_bytes() == content
    assert again.shard.drops == first.shard.drops
    assert len(first.shard.drops) == 1


@pytest.mark.usefixtures("with_shards")
def test_what_is_damaged_of_it_is_computed_and_stored_again(tmp_path: Path) -> None:
    task = plan_task_with_a_lost_item(tmp_path)
    end_before_it_is_whole(task)
    (grown,) = task.folders.work.glob(f"*{PACK}")
    grown.write_bytes(bytes(grown.stat().st_size))
    make_shard(task)
    content = task.path.read_bytes()
    objects = task.folders.objects
    stored = {
        bytes(key).ljust(32, b"\0") for name in objects.list_names() for key in objects.read_rows(name).entries["key"]
    }
    assert [key for key in task.list_inline() if key not in stored] == [task.list_inline()[1]], "the lost item"
    task = plan_task_with_a_lost_item(tmp_path)
    make_shard(task)
    assert task.path.read_bytes() == content
