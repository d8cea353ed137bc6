"""Lightning: a run stopped within an epoch resumes with the next batch, in the example's code."""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from benchmarks.support.torchvision_stand_in import stand_in
from shardwright import Field, ShardWriter

pytestmark = pytest.mark.filterwarnings("ignore")  # warnings of other packages

EXAMPLE = Path(__file__).parents[2] / "examples" / "train_lightning.py"
SAMPLES = 50
BATCH = 8
STEPS = 7  # an epoch, the last batch not full


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    fields = {"image": Field("uint8", (4, 4, 3), axes="HWC"), "label": Field("int64", ())}
    rng = np.random.default_rng(0)
    with ShardWriter(folder, "train", fields, 20) as writer:
        for number in range(SAMPLES):
            image = rng.integers(0, 256, (4, 4, 3), np.uint8)
            writer.write(f"sample-{number}", {"image": image, "label": number % 10})
    return folder


@pytest.fixture(scope="module")
def example() -> ModuleType:
    stand_in()
    spec = importlib.util.spec_from_file_location("train_lightning", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def train(example: ModuleType, root: Path, folder: Path, resume: Path | None = None, limit: int | None = None) -> Any:
    """Return the model after two epochs, with a checkpoint in `folder` after each step and at the end of each epoch."""
    import lightning
    from lightning.pytorch.callbacks import ModelCheckpoint

    lightning.seed_everything(0)
    shards = example.Shards(str(root), BATCH)
    model = example.Model(48, 10)
    each_step = ModelCheckpoint(folder, filename="{step}", every_n_train_steps=1, save_top_k=-1)
    each_epoch = ModelCheckpoint(folder, filename="{epoch}", save_top_k=-1, save_on_train_epoch_end=True)
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_epochs=2,
        limit_train_batches=limit,
        callbacks=[each_step, each_epoch],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, datamodule=shards, ckpt_path=resume)
    return model


@pytest.fixture(scope="module", name="whole")
def train_without_stopping(
    example: ModuleType, root: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Any, Path]:
    folder = tmp_path_factory.mktemp("whole")
    return train(example, root, folder), folder


@pytest.mark.parametrize("step", [1, 3, STEPS - 1, STEPS, STEPS + 1, STEPS + 3, 2 * STEPS - 1])
def test_a_run_resumes_from_a_checkpoint(
    example: ModuleType, root: Path, whole: tuple[Any, Path], tmp_path: Path, step: int
) -> None:
    import torch

    model, folder = whole
    rest = train(example, root, tmp_path, folder / f"step={step}.ckpt")
    delivered = step * BATCH if step < STEPS else SAMPLES + (step - STEPS) * BATCH
    assert rest.keys == model.keys[delivered:]
    assert torch.equal(rest.linear.weight, model.linear.weight)


def test_a_run_resumes_from_the_end_of_an_epoch(
    example: ModuleType, root: Path, whole: tuple[Any, Path], tmp_path: Path
) -> None:
    model, folder = whole
    assert train(example, root, tmp_path, folder / "epoch=0.ckpt").keys == model.keys[SAMPLES:]


def test_a_run_of_short_epochs_resumes(example: ModuleType, root: Path, tmp_path: Path) -> None:
    limit = 3
    model = train(example, root, tmp_path / "whole", limit=limit)
    assert len(model.keys) == 2 * limit * BATCH
    assert set(model.keys[: limit * BATCH]) != set(model.keys[limit * BATCH :])
    for saved, delivered in (("step=2", 2), ("step=3", 3), ("epoch=0", 3), ("step=4", 4)):
        rest = train(example, root, tmp_path / saved, tmp_path / "whole" / f"{saved}.ckpt", limit)
        assert rest.keys == model.keys[delivered * BATCH :]


def test_each_epoch_has_each_sample_once(whole: tuple[Any, Path]) -> None:
    keys = whole[0].keys
    assert len(keys) == 2 * SAMPLES
    for epoch in (keys[:SAMPLES], keys[SAMPLES:]):
        assert sorted(epoch) == sorted(f"sample-{number}" for number in range(SAMPLES))
    assert keys[:SAMPLES] != keys[SAMPLES:]
