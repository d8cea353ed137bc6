"""The same seed gives the same bits with any two choices of a task, encoders, a fusion and a precision together."""

from itertools import combinations, product
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.models.encoders.table import ENCODERS
from pipeline.models.fusions.table import FUSIONS
from pipeline.tables.contracts import SHARDS_FOLDER
from pipeline.tasks.table import TASKS
from tests.support.factory_shards import Toy
from tests.support.model_inputs import SMALL
from tests.support.pairs import cover_pairs, list_pairs
from tests.support.pretrained import make_network
from tests.support.small_captions import make_captioned
from tests.train.test_resume import run

pytestmark = pytest.mark.slow

MODALITIES = ("image", "audio", "text")
PRECISIONS = ("float32", "bfloat16")
ALONE = "masked_words"
"""A task of one modality, whose encoder must give tokens."""

CHOICES = {
    **{modality: list(ENCODERS[modality]) for modality in MODALITIES},
    "fusion": list(FUSIONS),
    "task": [name for name in TASKS if name != ALONE],
    "precision": PRECISIONS,
}
ROWS = cover_pairs(CHOICES) + [
    {"text": text, "task": ALONE, "precision": precision}
    for text, precision in product(("gru", "transformer", "transformers"), PRECISIONS)
]


def test_the_rows_have_every_pair() -> None:
    found = {pair for row in ROWS for pair in list_pairs(row, list(CHOICES))}
    for (one, values), (other, others) in combinations(CHOICES.items(), 2):
        assert {((one, value), (other, another)) for value, another in product(values, others)} <= found
    assert len(ROWS) < 1.4 * len(ENCODERS["image"]) * len(FUSIONS)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Samples for every task."""
    folder = tmp_path_factory.mktemp("data")
    make_captioned(folder / SHARDS_FOLDER, Toy(classes=("1", "2"), train=13, val=4, test=0, missing=("audio",)))
    return folder


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_network(tmp_path_factory.mktemp("network"))


def make_changes(row: dict[str, str], network: Path) -> dict[str, Any]:
    """Return the params of a row."""
    encoders: dict[str, dict[str, Any]] = {name: {"name": row[name]} for name in MODALITIES if name in row}
    for options in encoders.values():
        options |= {"folder": str(network)} if options["name"] == "transformers" else SMALL.get(options["name"], {})
    settings: dict[str, Any] = {name: row[name] for name in ("fusion", "precision") if name in row}
    return {"task": {"name": row["task"]}, "encoders": encoders, "modalities": list(encoders), "epochs": 1, **settings}


@pytest.mark.sweep
@pytest.mark.parametrize("row", ROWS, ids=["-".join(row.values()) for row in ROWS])
def test_the_same_seed_gives_the_same_bits(row: dict[str, str], data: Path, network: Path, tmp_path: Path) -> None:
    changes = make_changes(row, network)
    first = run(data, tmp_path / "first", **changes)
    torch.rand(3)
    assert run(data, tmp_path / "second", **changes) == first
