"""align writes the same bytes whether the driver plans all samples or tasks do, each a range or a bucket of them."""

import random
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from pipeline.align import bucket_tasks
from pipeline.align.params import AlignParams
from pipeline.align.plan_in_buckets import BUCKET_ITEMS, LEAST_ITEMS, count_buckets
from pipeline.align.step import align
from pipeline.config.params import RunParams
from pipeline.errors import InputError, PipelineError
from pipeline.runtime.run_stage import Workspace
from pipeline.tables import table_files
from tests.align.test_reference import CHANGES, choose_params, draw_rows, mark_clusters
from tests.support.aligning import open_aligned
from tests.support.stage_folders import hash_folder


def align_in_buckets(params: AlignParams, source: Workspace, work: Path, buckets: int) -> tuple[object, dict[str, str]]:
    """Return the outcome, or the error, and the hashes of the files."""
    run = source.run.model_copy(update={"buckets": buckets})
    workspace = Workspace(source.data, work, work, run)
    outcome: object
    try:
        outcome = align(params, workspace)
    except InputError as error:
        return str(error), {}
    except PipelineError as error:
        outcome = str(error)
    return outcome, {path: digest for path, digest in hash_folder(work).items() if path.startswith("4_aligned")}


@pytest.mark.slow
@given(st.randoms(use_true_random=True), st.integers(0, 80), st.sampled_from([1, 2, 20]), CHANGES, st.integers(1, 3))
@settings(
    max_examples=5,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.filter_too_much],
)  # to shrink an example takes minutes
def test_buckets_change_no_byte(
    rng: random.Random, count: int, clusters: int, changes: dict[str, Any], buckets: int
) -> None:
    params = choose_params(changes)
    assume(params is not None)
    assert params is not None
    rows = mark_clusters(draw_rows(rng, count), rng, of=clusters * 2)
    lost = [row for row in draw_rows(rng, 10) if row["id"] not in {each["id"] for each in rows}]
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr(table_files, "GROUP_ROWS", 16)
        patch.setattr(bucket_tasks, "RANGE_GROUPS", 2)
        source = open_aligned(Path(folder), rows, lost, workers=0)
        expected = align_in_buckets(params, source, Path(folder) / "driver", 0)
        assert align_in_buckets(params, source, Path(folder) / "tasks", buckets) == expected
        if expected[1]:
            assert not (Path(folder) / "tasks/buckets").exists()


def test_buckets_are_for_clusters_and_many_items() -> None:
    cluster = RunParams(scheduler="tcp://127.0.0.1:8786")
    assert count_buckets(RunParams(), 10 * LEAST_ITEMS) == 0
    assert count_buckets(cluster, LEAST_ITEMS - 1) == 0
    assert count_buckets(cluster, LEAST_ITEMS + 1) == LEAST_ITEMS // BUCKET_ITEMS + 1
    assert count_buckets(cluster.model_copy(update={"buckets": 0}), LEAST_ITEMS) == 0
    assert count_buckets(RunParams(buckets=3), 1) == 3
