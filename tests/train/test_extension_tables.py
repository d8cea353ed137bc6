"""One new file and one new line in a table add an encoder, a fusion, a metric or a task to a copy of the checkout."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.checkouts import Checkout, make_checkout
from tests.support.factory_shards import Toy, make_shards
from tests.support.running import ROOT

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Extension:
    """A new file with its text, and a new line that is put after the line of the table that starts with `after`."""

    file: str
    text: str
    table: str
    after: str
    line: str

    def add_to(self, folder: Path) -> None:
        (folder / self.file).write_text(self.text, encoding="utf-8")
        lines = (folder / self.table).read_text(encoding="utf-8").splitlines()
        rows = [number for number, line in enumerate(lines) if line.strip().startswith(self.after)]
        assert len(rows) == 1, f"{self.table} has no row {self.after}"
        lines.insert(rows[0] + 1, self.line)
        (folder / self.table).write_text("\n".join(lines) + "\n", encoding="utf-8")


ENCODER = Extension(
    file="pipeline/models/encoders/brightness.py",
    text="""
from torch import Tensor, nn

from pipeline.models.encoders.layers import Scale, build_projection
from pipeline.models.inputs import PartInput


class Brightness(nn.Module):
    def __init__(self, source: PartInput, width: int) -> None:
        super().__init__()
        self.scale = Scale(source)
        self.projection = build_projection(source.shape[2], width)

    def forward(self, pixels: Tensor, length: Tensor | None = None) -> Tensor:
        return self.projection(self.scale(pixels).mean((1, 2)))
""",
    table="pipeline/models/encoders/table.py",
    after='"cnn": LazyObject("pipeline.models.encoders.image:',
    line='            "brightness": LazyObject("pipeline.models.encoders.brightness:Brightness"),',
)
FUSION = Extension(
    file="pipeline/models/fusions/largest.py",
    text="""
from torch import Tensor, nn


class Largest(nn.Module):
    def __init__(self, modalities: int, width: int) -> None:
        super().__init__()

    def forward(self, embeddings: Tensor, present: Tensor) -> Tensor:
        return embeddings.amax(1)
""",
    table="pipeline/models/fusions/table.py",
    after='"mean":',
    line='        "largest": LazyObject("pipeline.models.fusions.largest:Largest"),',
)
METRIC = Extension(
    file="pipeline/tasks/metrics/iou.py",
    text="""
from pipeline.tasks.metrics.tally import Floats, Tally, divide


def compute_iou(tally: Tally) -> Floats:
    return divide(tally.hits, tally.actual + tally.predicted - tally.hits)
""",
    table="pipeline/tasks/metrics/table.py",
    after="METRICS: ",
    line='    "iou": Metric(LazyObject("pipeline.tasks.metrics.iou:compute_iou"), "IoU", ("macro",), "no sample"),',
)
TASK = Extension(
    file="pipeline/tasks/naming.py",
    text=(ROOT / "pipeline/tasks/classification.py").read_text(encoding="utf-8"),
    table="pipeline/tasks/table.py",
    after='"classification":',
    line='        "naming": LazyObject("pipeline.tasks.naming:CLASSIFICATION"),',
)
EXTENSIONS = (ENCODER, FUSION, METRIC, TASK)


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A copy of the checkout with all extensions and tiny shards; its params name the encoder, the fusion, the task."""
    checkout = make_checkout(tmp_path_factory.mktemp("extended"))
    for extension in EXTENSIONS:
        extension.add_to(checkout.folder)
    make_shards(checkout.data / "5_shards", Toy(train=8, val=4, test=4))
    path = checkout.folder / "params.yaml"
    blocks = yaml.safe_load(path.read_text(encoding="utf-8"))
    blocks["train"] |= {"task": "naming", "fusion": "largest", "epochs": 1, "width": 8, "device": "cpu"}
    blocks["train"]["encoders"] = {**blocks["train"].get("encoders", {}), "image": "brightness"}
    path.write_text(yaml.safe_dump(blocks), encoding="utf-8")
    checkout.run_stage("train")
    return checkout


@pytest.fixture(scope="module")
def metrics(extended: Checkout) -> dict[str, Any]:
    extended.run_stage("evaluate")
    content: dict[str, Any] = json.loads((extended.data / "7_report/metrics.json").read_bytes())
    return content


def test_a_new_encoder_fusion_and_task_are_trained(extended: Checkout) -> None:
    record = json.loads((extended.data / "6_model/model.json").read_bytes())
    assert record["architecture"]["encoders"]["image"] == "brightness"
    assert record["architecture"]["fusion"] == "largest"
    assert record["task"] == "naming"


def test_a_new_metric_is_in_every_file_of_the_report(extended: Checkout, metrics: dict[str, Any]) -> None:
    assert 0 <= metrics["macro_iou"] <= metrics["macro_f1"]
    assert "micro_iou" not in metrics
    assert all("iou" in scores for scores in metrics["per_class"].values())
    report = extended.data / "7_report"
    assert "iou" in (report / "per_class.csv").read_text().splitlines()[0].split(",")
    assert "<th>IoU</th>" in (report / "index.html").read_text()


def test_dvc_watches_new_files(extended: Checkout) -> None:
    subprocess.run([sys.executable, "-m", "pipeline.codegen.dvc_yaml"], cwd=extended.folder, check=True)
    stages = yaml.safe_load((extended.folder / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    for name in ("train", "evaluate"):
        assert {extension.file for extension in EXTENSIONS} <= set(stages[name]["deps"])


def test_checking_params_imports_no_heavy_library() -> None:
    program = (
        "import sys; from pathlib import Path; from pipeline.config.check_params import check_all_blocks, read_params\n"
        "check_all_blocks(read_params(Path('params.yaml')))\n"
        "print(*{'torch', 'cv2', 'webdataset', 'matplotlib'} & set(sys.modules))"
    )
    printed = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert printed.stdout.strip() == ""
