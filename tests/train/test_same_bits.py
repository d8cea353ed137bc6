"""Every fusion and every encoder gives the same bits twice, also where the training is stopped and goes on."""

from pathlib import Path
from typing import Any

import pytest

from pipeline.models.encoders.table import ENCODERS
from pipeline.models.fusions.table import FUSIONS
from pipeline.tables.contracts import SHARDS_FOLDER
from pipeline.train.saved_states import SavedStates
from tests.support.factory_shards import Toy, make_shards
from tests.support.model_inputs import SMALL
from tests.support.pretrained import make_network
from tests.train.test_resume import run, run_steps

pytestmark = pytest.mark.slow

MODALITIES = ("image", "audio", "text")


def choose_encoders(number: int) -> dict[str, dict[str, Any]]:
    """Return an encoder of each modality: together the runs have all of them, in different company."""
    chosen = {}
    for place, modality in enumerate(MODALITIES):
        names = list(ENCODERS[modality])
        name = names[(number + number // len(names) * place) % len(names)]
        chosen[modality] = {"name": name, **SMALL.get(name, {})}
    return chosen


PRECISIONS = ("float32", "bfloat16")
CASES = [
    (fusion, PRECISIONS[(number + half) % 2], choose_encoders(number + half * len(FUSIONS)))
    for half in range(2)
    for number, fusion in enumerate(FUSIONS)
]
"""Each fusion with both precisions; the second half is for the sweep."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    make_shards(folder / SHARDS_FOLDER, Toy(train=20, val=4, missing=("audio",)))
    return folder


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_network(tmp_path_factory.mktemp("network"))


def name_folder(options: dict[str, Any], network: Path) -> dict[str, Any]:
    """Return the options of an encoder with the folder that some start from."""
    return options | ({"folder": str(network)} if options["name"] == "transformers" else {})


@pytest.fixture(autouse=True)
def _save_always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SavedStates, "is_due", lambda states: True)


@pytest.mark.parametrize(
    ("fusion", "precision", "encoders"),
    [
        pytest.param(
            *case,
            id="-".join([*case[:2], *(each["name"] for each in case[2].values())]),
            marks=[pytest.mark.sweep] * (number >= len(FUSIONS)),
        )
        for number, case in enumerate(CASES)
    ],
)
def test_the_same_bits_twice_and_after_a_stop(
    fusion: str,
    precision: str,
    encoders: dict[str, Any],
    data: Path,
    network: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    encoders = {modality: name_folder(options, network) for modality, options in encoders.items()}
    changes = {"fusion": fusion, "precision": precision, "encoders": encoders, "epochs": 1, "width": 8}
    expected = run(data, tmp_path / "whole", **changes)
    run_steps(2, data, tmp_path / "stopped", monkeypatch, **changes)
    assert run(data, tmp_path / "stopped", **changes) == expected


def test_the_runs_have_every_encoder() -> None:
    seen = {(modality, each["name"]) for _, _, encoders in CASES[: len(FUSIONS)] for modality, each in encoders.items()}
    assert seen == {(modality, name) for modality in MODALITIES for name in ENCODERS[modality]}


def test_a_frozen_encoder_and_rates_of_its_own_go_on(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = {"name": "resnet18", **SMALL["resnet18"]}
    changes = {"encoders": {"image": {**image, "freeze": True}, "text": {"lr_mult": 0.1}}, "epochs": 2, "ema": 0.9}
    expected = run(data, tmp_path / "whole", **changes)
    run_steps(2, data, tmp_path / "stopped", monkeypatch, **changes)
    assert run(data, tmp_path / "stopped", **changes) == expected
