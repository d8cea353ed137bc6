"""The last lines of `make repro`: the scores of any task, and where the outputs are."""

import json
from pathlib import Path

import pytest

from pipeline.runtime.closing import format_closing
from pipeline.tables.contracts import REPORT_FOLDER

CLASSIFICATION = {"split": "test", "samples": 9, "accuracy": 0.75, "macro_f1": 0.5, "classes": {}}
RETRIEVAL = {"split": "test", "samples": 9, "recall_at_1": 0.25, "chance_recall_at_1": 0.1, "mrr": 0.5}
EMPTY = {"split": "test", "samples": 0, "accuracy": None, "macro_f1": None}


@pytest.mark.parametrize(
    ("metrics", "intervals", "line"),
    [
        (CLASSIFICATION, ["accuracy", "macro_f1"], "accuracy 0.750, macro F1 0.500"),
        (RETRIEVAL, ["recall_at_1", "mrr"], "recall@1 0.250, mrr 0.500"),
        (EMPTY, [], "no scores: nothing was trained or evaluated"),
        ({"samples": 9}, [], "no scores: nothing was trained or evaluated"),
    ],
)
def test_the_scores_of_any_task(metrics: dict[str, object], intervals: list[str], line: str, tmp_path: Path) -> None:
    folder = tmp_path / REPORT_FOLDER
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "summary.json").write_text(json.dumps({"samples": 9} | {f"{name}_low": 0.1 for name in intervals}))
    lines = format_closing(tmp_path).splitlines()
    assert lines[:2] == ["all stages are up to date", line]
    assert all(str(tmp_path) in each for each in lines[2:])
