"""align writes the same bytes with any number of threads, workers and buckets, and with so little memory that it works
on disk."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.support.aligned_corpus import write_corpus
from pipeline.align import bucket_tasks
from pipeline.align.params import AlignParams
from pipeline.align.step import align
from pipeline.config.check_params import check_block
from pipeline.config.params import RunParams
from pipeline.errors import PipelineError
from pipeline.runtime.run_stage import Workspace
from pipeline.tables import table_files
from tests.support.clusters import kill_tree, start_cluster
from tests.support.stage_folders import hash_folder
from tests.support.waiting import wait_for

pytestmark = pytest.mark.slow

ITEMS = 30_000
ENOUGH, LITTLE, TOO_LITTLE = "1 GB", "40 MB", "4 MB"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table_files, "GROUP_ROWS", ITEMS // 5)
        patch.setattr(bucket_tasks, "RANGE_GROUPS", 2)
        write_corpus(folder, ITEMS)
        yield folder


def align_corpus(data: Path, work: Path, threads: int, memory: str, **more: object) -> dict[str, str]:
    params = check_block({"align": {"label": "page", "max_group": 1.0}}, "align", AlignParams)
    given = {"workers": threads, "table_memory": memory, "progress": False, "cache": str(work), **more}
    run = RunParams.model_validate(given)
    align(params, Workspace(data, work, work, run)).check()
    return hash_folder(work)


def test_threads_and_memory_change_no_byte(data: Path, tmp_path: Path) -> None:
    expected = align_corpus(data, tmp_path / "one", 1, ENOUGH)
    assert {path.split("/")[1] for path in expected} == {"samples", "parts", "part_kinds", "dropped"}
    assert align_corpus(data, tmp_path / "two", 2, ENOUGH) == expected
    assert align_corpus(data, tmp_path / "little", 2, LITTLE) == expected
    assert align_corpus(data, tmp_path / "workers", 2, ENOUGH, buckets=3) == expected


@pytest.mark.sweep
@pytest.mark.parametrize("buckets", [0, 1, 3, 64])
@pytest.mark.parametrize("workers", [0, 1, 2])
def test_buckets_and_workers_change_no_byte(buckets: int, workers: int, data: Path, tmp_path: Path) -> None:
    expected = align_corpus(data, tmp_path / "expected", 2, ENOUGH)
    assert align_corpus(data, tmp_path / "work", workers, ENOUGH, buckets=buckets) == expected


@pytest.mark.sweep
def test_a_lost_worker_of_a_cluster_changes_no_byte(data: Path, tmp_path: Path) -> None:
    expected = align_corpus(data, tmp_path / "expected", 2, ENOUGH)
    cluster_folder, work = tmp_path / "cluster", tmp_path / "work"
    for folder in (cluster_folder, work):
        folder.mkdir()
    with start_cluster(cluster_folder, workers=2) as cluster:

        def lose_worker() -> None:
            wait_for(lambda: [*work.glob("buckets/range-*.selected.arrow")])
            kill_tree(cluster.workers[0])

        thread = threading.Thread(target=lose_worker)
        thread.start()
        found = align_corpus(data, work, 0, ENOUGH, buckets=16, scheduler=cluster.address)
        thread.join()
    assert found == expected


def test_too_little_memory_names_the_setting(data: Path, tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=r"run\.table_memory"):
        align_corpus(data, tmp_path, 2, TOO_LITTLE)
