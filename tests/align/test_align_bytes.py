"""align writes the same bytes with any number of threads, and with so little memory that it works on disk."""

from pathlib import Path

import pytest

from benchmarks.support.aligned_corpus import write_corpus
from pipeline.align.params import AlignParams
from pipeline.align.step import align
from pipeline.config.check_params import check_block
from pipeline.config.params import RunParams
from pipeline.errors import PipelineError
from pipeline.runtime.run_stage import Workspace
from tests.support.stage_folders import hash_folder

pytestmark = pytest.mark.slow

ITEMS = 30_000
ENOUGH, LITTLE, TOO_LITTLE = "1 GB", "40 MB", "4 MB"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_corpus(folder, ITEMS)
    return folder


def align_corpus(data: Path, work: Path, threads: int, memory: str) -> dict[str, str]:
    params = check_block({"align": {"label": "page", "max_group": 1.0}}, "align", AlignParams)
    run = RunParams(workers=threads, table_memory=memory, progress=False, cache=str(work))
    align(params, Workspace(data, work, work, run)).check()
    return hash_folder(work)


def test_threads_and_memory_change_no_byte(data: Path, tmp_path: Path) -> None:
    expected = align_corpus(data, tmp_path / "one", 1, ENOUGH)
    assert {path.split("/")[1] for path in expected} == {"samples", "parts", "part_kinds", "dropped"}
    assert align_corpus(data, tmp_path / "two", 2, ENOUGH) == expected
    assert align_corpus(data, tmp_path / "little", 2, LITTLE) == expected


def test_too_little_memory_names_the_setting(data: Path, tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=r"run\.table_memory"):
        align_corpus(data, tmp_path, 2, TOO_LITTLE)
