"""`shardwright batch` shows the samples of a step, and gives the very tensors that the model got in it."""

import itertools
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import yaml

from pipeline.tables.contracts import MODEL_FOLDER, SHARDS_FOLDER
from pipeline.train import batch_command, training_loop
from pipeline.train.augment import prepare_batch
from pipeline.train.batch_command import name_items
from tests.support.factory_shards import Toy, make_shards
from tests.train.test_train import make_params, run_train

pytestmark = pytest.mark.slow

SETTINGS: dict[str, Any] = {"epochs": 2, "batch_size": 8, "width": 4, "seed": 3}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    make_shards(folder / SHARDS_FOLDER, Toy(train=45, val=8, missing=("audio",)))
    return folder


def run(data: Path, *words: str, **changes: Any) -> int:
    params = make_params(**SETTINGS | changes)
    (data / "params.yaml").write_text(yaml.safe_dump({"train": params.model_dump(mode="json")}))
    return batch_command.run([*words, "--data", str(data), "--params", str(data / "params.yaml")])


@pytest.mark.parametrize("accumulate", [1, 4])
def test_the_batch_of_any_step_is_the_one_that_was_learned_from(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], accumulate: int
) -> None:
    seen: list[tuple[dict[str, Any], torch.Tensor]] = []

    def record(*arguments: Any) -> Any:
        seen.append(prepare_batch(*arguments))
        return seen[-1]

    with monkeypatch.context() as patched:
        patched.setattr(training_loop, "prepare_batch", record)
        run_train(data, f"run-{accumulate}", **SETTINGS, accumulate=accumulate)
    numbers = itertools.chain.from_iterable([[1] * 4 + [2] * 2, [3] * 4 + [4] * 2])  # of the steps with four batches
    steps = list(range(1, 13)) if accumulate == 1 else list(numbers)
    for step in (1, 4, max(steps)):
        capsys.readouterr()
        assert run(data, "--step", str(step), "--save", str(tmp_path / "batch"), accumulate=accumulate) == 0
        lines = capsys.readouterr().out.splitlines()
        batches = [pair for pair, number in zip(seen, steps, strict=True) if number == step]
        assert [line.split("  ")[0] for line in lines[2:]] == [key for batch, _ in batches for key in batch["key"]]
        saved = safetensors.torch.load_file(tmp_path / "batch")
        for number, (batch, present) in enumerate(batches, 1):
            suffix = f".{number}" if number > 1 else ""
            assert torch.equal(saved[f"present{suffix}"], present)
            for name in batch.keys() - {"key"}:
                assert torch.equal(saved[f"{name}{suffix}"], batch[name]), name


def test_a_model_tells_its_own_batches(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_train(data, "model", **SETTINGS)
    assert run(data, "--step", "7") == 0
    expected = capsys.readouterr().out
    assert expected.startswith("step 7 of 12: epoch 2 of 2, seed 3\nsha256 of the batch ")
    assert run(data, "--step", "7", "--model", str(data / "model" / MODEL_FOLDER), seed=4) == 0
    assert capsys.readouterr().out == expected


@pytest.mark.parametrize("step", [0, 13])
def test_a_step_that_there_is_not_is_refused(data: Path, capsys: pytest.CaptureFixture[str], step: int) -> None:
    assert run(data, "--step", str(step)) == 2
    assert capsys.readouterr().err == f"shardwright: --step is {step}; it must be from 1 to 12\n"


def test_items_are_named_by_where_they_come_from() -> None:
    items = {"image": {"file": "a/1.jpg", "id": "x"}, "text": [{"url": "http://a/"}, {"id": "y"}], "audio": {}}
    named = ["image a/1.jpg", "text http://a/", "text y", "audio of unknown origin"]
    assert list(name_items({"items": items})) == named
    assert list(name_items({})) == []
