"""Training gives the same bits every time and refuses unfit datasets; augmentation is a function of the sample."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

from pipeline.config.check_params import check_block, read_effective_params
from pipeline.config.params import RunParams
from pipeline.errors import InputError, ParamsError, PipelineError
from pipeline.models.batches import SplitKeys, find_shared_keys, hash_keys
from pipeline.models.checkpoint import LAST, load_model
from pipeline.models.encoders.table import ENCODERS
from pipeline.models.history import Epoch
from pipeline.models.inputs import PartInput
from pipeline.runtime.run_stage import Workspace
from pipeline.tables.contracts import MODEL_FOLDER, SHARDS_FOLDER
from pipeline.tables.drops import Outcome
from pipeline.train.augment import AUGMENTATIONS, augment_part, hide_parts
from pipeline.train.keyed_random import KeyedRandom
from pipeline.train.optimizer import scale_rate
from pipeline.train.params import TrainParams
from pipeline.train.progress import Progress
from pipeline.train.step import train
from shardwright import read_manifest, write_manifest
from tests.support.factory_shards import Toy, make_shards, spoil_sample

pytestmark = pytest.mark.slow

RUN = RunParams(workers=0, memory="1 GiB", cache=".cache", progress=False)
ROOT = Path(__file__).parents[2]
BLOCKS = read_effective_params(ROOT / "params.yaml")
SMALL: Mapping[str, Any] = {
    "epochs": 3,
    "width": 8,
    "batch_size": 16,
    "threads": 1,
    "device": "cpu",
    "select_epoch": "best",
}


def make_params(**changes: Any) -> TrainParams:
    return check_block({"train": {**BLOCKS["train"], **SMALL, **changes}}, "train", TrainParams)


def run_train(folder: Path, name: str = "run", **changes: Any) -> Outcome:
    """Train on `folder/5_shards` into `folder/<name>/6_model`."""
    outcome = train(make_params(**changes), Workspace(folder, folder / name, folder / "cache", RUN))
    outcome.check()
    return outcome


def read_bytes(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / MODEL_FOLDER).iterdir()) if path.is_file()}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    make_shards(folder / SHARDS_FOLDER, Toy(missing=("audio",)))
    return folder


def test_the_same_bits_every_time_and_other_bits_with_another_seed(data: Path) -> None:
    outcome = run_train(data, "first")
    torch.rand(3)  # random numbers drawn before must not matter, and the state of the generator stays
    before = torch.random.get_rng_state()
    run_train(data, "second")
    assert torch.equal(torch.random.get_rng_state(), before)
    run_train(data, "other", seed=1)
    first, second, other = (read_bytes(data / name) for name in ("first", "second", "other"))
    assert list(first) == ["best.safetensors", "history.tsv", "last.safetensors", "model.json"]
    assert first == second
    assert first["best.safetensors"] != other["best.safetensors"]
    assert (outcome.unit, outcome.seen, outcome.kept) == ("sample", 64, 64)
    assert outcome.worked == 3 * 64
    assert outcome.notes[0].startswith("best epoch ")


def test_another_process_makes_the_same_bits(data: Path) -> None:
    run_train(data, "here", epochs=1)
    code = f"from tests.train.test_train import run_train, Path; run_train(Path({str(data)!r}), 'there', epochs=1)"
    environment = {**os.environ, "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo", "LC_ALL": "C", "OMP_NUM_THREADS": "2"}
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, env=environment)
    assert read_bytes(data / "here") == read_bytes(data / "there")


def test_the_files_of_a_model_agree(data: Path) -> None:
    run_train(data, "files", epochs=4)
    folder = data / "files" / MODEL_FOLDER
    record = json.loads((folder / "model.json").read_text())
    header, *rows = [line.split("\t") for line in (folder / "history.tsv").read_text().splitlines()]
    assert header == ["epoch", "train_loss", "val_loss", "val_accuracy", "val_macro_f1", "learning_rate"]
    assert [row[0] for row in rows] == ["1", "2", "3", "4"]
    scores = [(float(row[4]), -float(row[2])) for row in rows]
    assert record["best"]["epoch"] == 1 + scores.index(max(scores))
    assert record["dataset"] == json.loads((data / SHARDS_FOLDER / "dataset.json").read_text())["hash"]
    assert record["classes"] == ["bell", "drum", "horn", "wind"]
    assert record["params"]["epochs"] == 4
    assert record["fields"].keys() >= {"image", "mfcc", "tokens", "label", "audio_present"}
    assert str(data) not in (folder / "model.json").read_text()
    model, _ = load_model(folder, LAST)
    assert torch.equal(model.encoders[0].get_buffer("scale.mean"), torch.full((3,), 60.0))


@pytest.mark.parametrize("reader", ["shardwright", "webdataset"])
@pytest.mark.parametrize("fusion", ["concat", "mean", "attention"])
def test_every_reader_and_fusion_learns(data: Path, reader: str, fusion: str) -> None:
    name = f"{reader}-{fusion}"
    run_train(data, name, reader=reader, fusion=fusion, epochs=12, width=16, learning_rate=0.01)
    best = json.loads((data / name / MODEL_FOLDER / "model.json").read_text())["best"]
    assert best["val_macro_f1"] > 0.8


@pytest.mark.parametrize("modalities", [["image"], ["audio"], ["text"], ["text", "image"]])
def test_any_subset_of_the_modalities_can_be_trained(data: Path, modalities: list[str]) -> None:
    name = "-".join(modalities)
    run_train(data, name, modalities=modalities, epochs=1)
    _, record = load_model(data / name / MODEL_FOLDER)
    assert [source.modality for source in record.architecture.inputs] == modalities
    assert list(record.architecture.encoders) == sorted(modalities)  # JSON is sorted; the inputs carry the order


def test_training_stops_when_patience_is_over(data: Path) -> None:
    run_train(data, "stop", epochs=60, patience=2, learning_rate=0.01)
    lines = (data / "stop" / MODEL_FOLDER / "history.tsv").read_text().splitlines()
    best = json.loads((data / "stop" / MODEL_FOLDER / "model.json").read_text())["best"]["epoch"]
    assert len(lines) - 1 == best + 2 < 60


def test_without_validation_the_last_epoch_is_taken(tmp_path: Path) -> None:
    make_shards(tmp_path / SHARDS_FOLDER, Toy(val=0, train=12))
    outcome = run_train(tmp_path, patience=1)
    assert outcome.notes[:-1] == ["no validation samples: the last of 3 epochs is taken"]
    written = read_bytes(tmp_path / "run")
    assert written["best.safetensors"] == written["last.safetensors"]
    assert written["history.tsv"].decode().splitlines()[1].split("\t")[2:5] == ["", "", ""]


def test_a_class_without_training_samples_is_named(tmp_path: Path) -> None:
    make_shards(tmp_path / SHARDS_FOLDER, Toy(train=3, val=8))
    outcome = run_train(tmp_path, epochs=1)
    assert outcome.notes[-2] == "no training sample of 1 of 4 classes: wind"


@pytest.mark.parametrize(
    ("toy", "message"),
    [
        (Toy(train=0), "no samples in the split `train`"),
        (Toy(labels=False), "no labels to learn"),
        (Toy(modalities=()), "no modality that a model could see"),
        (Toy(modalities=("image", "text")), r"train\.modalities has `audio`, but the dataset in .* has image, text"),
    ],
)
def test_an_unfit_dataset_is_refused(toy: Toy, message: str, tmp_path: Path) -> None:
    make_shards(tmp_path / SHARDS_FOLDER, toy)
    with pytest.raises(InputError, match=message):
        run_train(tmp_path, task="classification")
    assert not (tmp_path / "run" / MODEL_FOLDER).exists()


def test_a_missing_dataset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no dataset"):
        run_train(tmp_path)


def test_a_sample_in_two_splits_is_refused(tmp_path: Path) -> None:
    """As when somebody copies one split over another and updates the hashes."""
    root = make_shards(tmp_path / SHARDS_FOLDER, Toy())
    manifest = read_manifest(root)
    shutil.rmtree(root / "test")
    shutil.copytree(root / "train", root / "test")
    write_manifest(root, replace(manifest, splits={**manifest.splits, "test": manifest.splits["train"]}))
    with pytest.raises(InputError, match=r"'train-\d+' is in the splits train and test"):
        run_train(tmp_path)


@given(st.lists(st.text("ab01", max_size=3)), st.lists(st.text("ab01", max_size=3), min_size=1))
def test_shared_keys_are_found_by_their_hashes(one: list[str], other: list[str]) -> None:
    arrays = [np.array([f"{key:x>60}" for key in keys], "S64") for keys in (one, other)]
    found = find_shared_keys(*(SplitKeys(keys, np.sort(hash_keys(keys))) for keys in arrays))
    assert found.tolist() == sorted({*arrays[0].tolist()} & {*arrays[1].tolist()})


def test_keys_that_differ_have_hashes_that_differ() -> None:
    keys = np.array([f"{a}{fill}{b}" for a in range(100) for b in range(100) for fill in ("/", "/" * 50)], "S64")
    assert len(np.unique(hash_keys(keys))) == len(np.unique(keys))


def test_equal_hashes_of_other_keys_are_not_shared_keys() -> None:
    hashes = np.array([7, 7], np.uint64)
    one, other = (SplitKeys(np.array(keys, "S64"), hashes) for keys in (["a", "b"], ["c", "d"]))
    assert len(find_shared_keys(one, other)) == 0


def test_a_damaged_split_is_refused_by_name(tmp_path: Path) -> None:
    root = make_shards(tmp_path / SHARDS_FOLDER, Toy())
    shard = root / "test/test-000001.tar"
    shard.write_bytes(shard.read_bytes()[:-512])
    with pytest.raises(InputError, match=r"test-000001\.tar.*run `dvc repro` again"):
        run_train(tmp_path)


def test_a_loss_that_is_no_number_names_the_samples(tmp_path: Path) -> None:
    make_shards(tmp_path / SHARDS_FOLDER, Toy(train=12), spoil=spoil_sample)
    with pytest.raises(PipelineError, match=r"the loss is nan in epoch 1, at step 1, on the samples .*train-005"):
        run_train(tmp_path, batch_size=12)


def test_a_validation_loss_that_is_no_number_names_the_samples(tmp_path: Path) -> None:
    def spoil(key: str, arrays: dict[str, Any]) -> dict[str, Any]:
        return arrays if key != "val-003" else spoil_sample("train-005", arrays)

    make_shards(tmp_path / SHARDS_FOLDER, Toy(train=12), spoil=spoil)
    with pytest.raises(PipelineError, match=r"the loss is nan in validation, on the samples .*val-003"):
        run_train(tmp_path, batch_size=12)


def test_modalities_that_are_not_named_are_those_of_the_dataset(data: Path, tmp_path: Path) -> None:
    run_train(data, "unnamed", modalities=None, epochs=1)
    record = load_model(data / "unnamed" / MODEL_FOLDER, LAST)[1]
    assert [source.modality for source in record.architecture.inputs] == ["image", "audio", "text"]
    make_shards(tmp_path / SHARDS_FOLDER, Toy(modalities=("text",)))
    run_train(tmp_path, modalities=None, epochs=1)
    record = load_model(tmp_path / "run" / MODEL_FOLDER, LAST)[1]
    assert [source.modality for source in record.architecture.inputs] == ["text"]


def test_modalities_are_named_once() -> None:
    with pytest.raises(ParamsError, match=r"train\.modalities.*a list without repeats"):
        make_params(modalities=["image", "image"])


def make_epoch(number: int, macro_f1: float | None, loss: float | None) -> Epoch:
    return Epoch(number, 1.0, loss, {"accuracy": 0.9, "macro_f1": macro_f1}, 0.1)


def test_a_better_epoch_has_a_higher_score_or_the_same_at_a_lower_loss() -> None:
    first = make_epoch(1, 0.5, 1.0)
    assert first.beats(None)
    assert make_epoch(2, 0.6, 9.0).beats(first)
    assert make_epoch(2, 0.5, 0.9).beats(first)
    assert not make_epoch(2, 0.5, 1.0).beats(first)
    assert not make_epoch(2, 0.4, 0.1).beats(first)
    assert make_epoch(2, None, None).beats(make_epoch(1, None, None))
    assert Progress(history=(first,) * 4, best=1).is_stale(3)
    assert not Progress(history=(first,) * 4, best=1).is_stale(4)


@given(st.integers(1, 500))
@settings(max_examples=30)
def test_the_learning_rate_rises_once_and_falls_once(steps: int) -> None:
    rates = [scale_rate(step, steps, 0.1) for step in range(steps)]
    top = rates.index(max(rates))
    assert all(0 < rate <= 1 for rate in rates)
    assert max(rates) == 1
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)


SOURCES = {
    "image": PartInput("image", "image", "image", (16, 16, 3)),
    "audio": PartInput("audio", "audio", "mfcc", (20, 8), "mfcc_length", mean=(0.5,) * 8, std=(1.0,) * 8),
    "text": PartInput("text", "text", "tokens", (6,), "tokens_length", words=12),
    "video": PartInput("video", "video", "video", (3, 16, 16, 3)),
}
KEYS = st.lists(st.text("abcdef", min_size=1, max_size=6), min_size=1, max_size=8, unique=True)


def make_values(modality: str, count: int) -> tuple[Tensor, Tensor | None]:
    rng = torch.Generator().manual_seed(count)
    source = SOURCES[modality]
    length = torch.randint(1, source.shape[0] + 1, (count,), generator=rng, dtype=torch.int32)
    if modality in ("image", "video"):
        return torch.randint(0, 256, (count, *source.shape), generator=rng, dtype=torch.uint8), None
    if modality == "audio":
        values = torch.randn(count, *source.shape, generator=rng)
        return values.masked_fill((torch.arange(20) >= length[:, None])[:, :, None], 0), length
    tokens = torch.randint(2, 12, (count, *source.shape), generator=rng, dtype=torch.int32)
    return tokens.masked_fill(torch.arange(6) >= length[:, None], 0), length


def test_every_modality_with_an_encoder_has_an_augmentation() -> None:
    assert set(AUGMENTATIONS) == set(ENCODERS)


@pytest.mark.parametrize("modality", SOURCES)
@given(keys=KEYS, seed=st.integers(0, 5), epoch=st.integers(0, 5))
@settings(max_examples=20)
def test_a_sample_is_augmented_alike_in_any_batch(modality: str, keys: list[str], seed: int, epoch: int) -> None:
    values, length = make_values(modality, len(keys))
    augment, source = AUGMENTATIONS[modality], SOURCES[modality]
    augmented = augment(values, length, source, KeyedRandom.for_samples(seed, epoch, keys))
    assert (augmented.shape, augmented.dtype) == (values.shape, values.dtype)
    for row, key in enumerate(keys):
        one = None if length is None else length[row : row + 1]
        alone = augment(values[row : row + 1], one, source, KeyedRandom.for_samples(seed, epoch, [key]))
        assert torch.equal(alone[0], augmented[row])


@pytest.mark.parametrize("modality", SOURCES)
def test_augmentation_stays_on_the_device(modality: str) -> None:
    meta = torch.device("meta")  # which refuses tensors of another device
    values, length = make_values(modality, 3)
    rng = KeyedRandom.for_samples(0, 0, ["a", "b", "c"], meta)
    augmented = AUGMENTATIONS[modality](
        values.to(meta), None if length is None else length.to(meta), SOURCES[modality], rng
    )
    assert (augmented.device, augmented.shape) == (meta, values.shape)


@pytest.mark.parametrize("modality", SOURCES)
def test_several_items_are_augmented_each_in_its_own_way(modality: str) -> None:
    values, length = make_values(modality, 12)
    longest = 0 if length is None else int(length.argmax())
    values = values[longest].expand_as(values)
    source = replace(SOURCES[modality], count="count", field="values", length=None if length is None else "length")
    batch = {"values": values.reshape(2, 6, *values.shape[1:])}
    if length is not None:
        batch["length"] = length[longest].expand(2, 6)
    augmented = augment_part(batch, source, KeyedRandom.for_samples(0, 0, ["a", "b"]))
    assert augmented.shape == batch["values"].shape
    assert len(torch.unique(augmented.flatten(0, 1).float(), dim=0)) > 3
    alone = {name: value[1:] for name, value in batch.items()}
    assert torch.equal(augment_part(alone, source, KeyedRandom.for_samples(0, 0, ["b"]))[0], augmented[1])


def test_augmentation_differs_by_epoch_and_leaves_padding() -> None:
    keys = [f"key{number}" for number in range(64)]
    for modality, source in SOURCES.items():
        values, length = make_values(modality, 64)
        passes = [KeyedRandom.for_samples(0, epoch, keys) for epoch in (0, 1)]
        augmented = [AUGMENTATIONS[modality](values, length, source, rng) for rng in passes]
        assert not torch.equal(augmented[0], values)
        assert not torch.equal(*augmented)
    tokens, _ = make_values("text", 64)
    changed = augment_as("text", tokens, keys)
    assert torch.equal(changed == 0, tokens == 0)
    assert set(changed[changed != tokens].tolist()) == {1}
    pixels, _ = make_values("image", 64)
    assert all(
        set(new.flatten().tolist()) <= set(old.flatten().tolist())
        for new, old in zip(augment_as("image", pixels, keys), pixels, strict=True)
    )


def test_vectors_are_left_as_they_are() -> None:
    values, source = torch.randn(2, 10), PartInput("vector", "vector", "image_vector", (10,))
    rng = KeyedRandom.for_samples(0, 0, ["a", "b"])
    assert torch.equal(AUGMENTATIONS["vector"](values, None, source, rng), values)


def augment_as(modality: str, values: Tensor, keys: list[str]) -> Tensor:
    return AUGMENTATIONS[modality](values, None, SOURCES[modality], KeyedRandom.for_samples(0, 0, keys))


def test_random_numbers_are_uniform_and_independent() -> None:
    keys = [f"key{number}" for number in range(2000)]
    rng = KeyedRandom.for_samples(0, 0, keys)
    numbers = rng.uniform("a", 3)
    assert numbers.min() >= 0
    assert numbers.max() < 1
    torch.testing.assert_close(numbers.mean(0), torch.full((3,), 0.5), atol=0.03, rtol=0)
    torch.testing.assert_close(numbers.T.corrcoef(), torch.eye(3), atol=0.06, rtol=0)
    others = [
        KeyedRandom.for_samples(1, 0, keys).uniform("a", 3),
        KeyedRandom.for_samples(0, 1, keys).uniform("a", 3),
        rng.uniform("b", 3),
    ]
    assert all((other != numbers).all(1).float().mean() > 0.99 for other in others)
    assert set(rng.integers("w", 2).tolist()) == {-2, -1, 0, 1, 2}


@given(KEYS, st.floats(0, 0.99), st.data())
@settings(max_examples=40)
def test_hiding_never_shows_a_modality_and_never_hides_all(keys: list[str], chance: float, data: st.DataObject) -> None:
    present = torch.tensor([data.draw(st.lists(st.booleans(), min_size=3, max_size=3)) for _ in keys])
    shown = hide_parts(present, chance, KeyedRandom.for_samples(0, 0, keys))
    assert not (shown & ~present).any()
    assert torch.equal(shown.any(1), present.any(1))
    if chance == 0:
        assert torch.equal(shown, present)
