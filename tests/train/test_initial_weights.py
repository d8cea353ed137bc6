"""Encoders start from files, are frozen, and learn at rates of their own."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from pipeline.codegen.dvc_yaml import build_stages
from pipeline.errors import InputError
from pipeline.models.checkpoint import BEST, load_model
from pipeline.models.determinism import deterministic_mode
from pipeline.models.encoders.build import build_encoder
from pipeline.models.initial_weights import freeze_encoder, load_initial_weights
from pipeline.models.inputs import PartInput
from pipeline.models.model import Model
from pipeline.tables.contracts import MODEL_FOLDER, SHARDS_FOLDER
from pipeline.train.resume_key import compute_key
from tests.support.factory_shards import Toy, make_shards
from tests.support.model_inputs import INPUTS, make_batch
from tests.train.test_train import make_params, run_train

SIZES = {"channels": [8, 8, 8, 8]}
IMAGE = INPUTS["image"]


pytestmark = pytest.mark.usefixtures("deterministic")


def build(seed: int = 0, name: str = "resnet18", source: PartInput = IMAGE, **sizes: Any) -> nn.Module:
    torch.manual_seed(seed)
    return build_encoder(source, 8, name, sizes or SIZES)


def make_foreign_weights() -> dict[str, Tensor]:
    """As a file of torchvision has them: no scale, no outlet, but a last layer for its own classes."""
    own = {name: value for name, value in build(1).state_dict().items() if not name.startswith(("scale.", "outlet."))}
    return {**own, "fc.weight": torch.zeros(1000, 8), "fc.bias": torch.zeros(1000)}


@pytest.mark.parametrize("ending", ["safetensors", "pth", "wrapped.pth"])
def test_an_encoder_starts_from_weights_of_another_project(ending: str, tmp_path: Path) -> None:
    path, weights = tmp_path / f"resnet18.{ending}", make_foreign_weights()
    if ending == "safetensors":
        safetensors.torch.save_file(weights, path)
    else:
        torch.save({"state_dict": weights, "epoch": 3} if ending == "wrapped.pth" else weights, path)
    encoder = build()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    assert load_initial_weights(encoder, IMAGE, path) == f"{len(weights) - 2} of {len(before)} tensors"
    for name, value in encoder.state_dict().items():
        assert torch.equal(value, weights.get(name, before[name])), name


def change(weights: dict[str, Tensor], how: str) -> Any:
    match how:
        case "missing":
            return {name: value for name, value in weights.items() if not name.startswith("layer3")}
        case "unexpected":
            return {**weights, "layer9.weight": torch.zeros(2)}
        case "shape":
            return {**weights, "conv1.weight": torch.zeros(8, 1, 7, 7)}
        case "code":
            return {"conv1.weight": Path("x")}
        case "no tensor":
            return {**weights, "conv1.weight": "a word"}
    return [1]


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("missing", r"it lacks layer3\.0\.conv1\.weight, .* and \d+ more"),
        ("unexpected", r"it has, but the encoder has not, layer9\.weight"),
        ("shape", r"it has in another shape conv1\.weight \(8, 1, 7, 7\) for \(8, 3, 7, 7\)"),
        ("code", "which is neither safetensors nor a file of tensors alone"),
        ("no tensor", "which must hold tensors by name"),
        ("list", "which must hold tensors by name"),
    ],
)
def test_a_file_that_does_not_fit_is_an_error_that_names_it(how: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save(change(make_foreign_weights(), how), path)
    with pytest.raises(InputError, match=rf"train\.encoders\.image\.init_from is {re.escape(str(path))}.*{message}"):
        load_initial_weights(build(), IMAGE, path)


@pytest.mark.parametrize("content", [b"", b"{}", b"\x80\x02garbage"])
@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pt"])
def test_a_damaged_file_is_an_error(content: bytes, name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match="neither safetensors nor a file of tensors alone"):
        load_initial_weights(build(), IMAGE, tmp_path / name)
    with pytest.raises(InputError, match="cannot be read"):
        load_initial_weights(build(), IMAGE, tmp_path / "none" / name)


def test_a_video_starts_from_weights_for_images(tmp_path: Path) -> None:
    weights = make_foreign_weights()
    safetensors.torch.save_file(weights, tmp_path / "image.safetensors")
    video = build(source=INPUTS["video"], name="cnn", frames={"name": "resnet18", **SIZES})
    load_initial_weights(video, INPUTS["video"], tmp_path / "image.safetensors")
    assert torch.equal(video.state_dict()["frames.conv1.weight"], weights["conv1.weight"])


def test_what_is_frozen_stays(tmp_path: Path) -> None:
    encoder = build()
    freeze_encoder(encoder)
    learning = [name for name, parameter in encoder.named_parameters() if parameter.requires_grad]
    assert learning == [name for name, _ in encoder.named_parameters() if name.startswith("outlet.")]
    assert learning


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards, and a model that was trained on them."""
    folder = tmp_path_factory.mktemp("trained")
    make_shards(folder / SHARDS_FOLDER, Toy(train=12, val=4, missing=("audio",)))
    run_train(folder, "first", epochs=1)
    shutil.copytree(folder / "first" / MODEL_FOLDER, folder / "weights")
    return folder


def read_state(folder: Path) -> dict[str, Tensor]:
    return safetensors.torch.load_file(folder / MODEL_FOLDER / BEST)


def test_a_model_starts_from_the_encoder_of_another_and_keeps_it_frozen(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = trained / "weights" / BEST
    encoders = {"audio": {"init_from": str(path), "freeze": True}}
    run_train(trained, "second", epochs=2, seed=5, encoders=encoders)
    assert re.search(rf"train: audio starts from {re.escape(str(path))}: (\d+) of \1 tensors", capsys.readouterr().err)
    first, second = read_state(trained / "first"), read_state(trained / "second")
    number = [each.part for each in load_model(trained / "weights")[1].architecture.inputs].index("audio")
    for name, value in second.items():
        kept = name.startswith(f"encoders.{number}.") and ".outlet." not in name
        assert torch.equal(value, first[name]) == (kept or ".scale." in name), name
    record = json.loads((trained / "second" / MODEL_FOLDER / "model.json").read_bytes())
    assert list(record["initial_weights"]) == [str(path)]
    assert record["params"]["encoders"]["audio"]["freeze"]


def test_a_whole_model_without_its_record_or_without_the_part_is_an_error(trained: Path, tmp_path: Path) -> None:
    encoder = build()
    shutil.copy(trained / "weights" / BEST, tmp_path / BEST)
    with pytest.raises(InputError, match=r"has the weights of a whole model: put its model\.json beside it"):
        load_initial_weights(encoder, IMAGE, tmp_path / BEST)
    with pytest.raises(InputError, match="it must have a part clip, or one part of the modality smell"):
        load_initial_weights(encoder, replace(IMAGE, part="clip", modality="smell"), trained / "weights" / BEST)


def test_the_key_of_saved_states_has_the_content_of_the_file(trained: Path, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    params = make_params(encoders={"image": {"init_from": str(path)}})
    keys = []
    for content in (b"one", b"two"):
        path.write_bytes(content)
        keys.append(compute_key(params, "0", torch.device("cpu")))
    assert keys[0] != keys[1]
    path.unlink()
    with pytest.raises(
        InputError, match=r"train\.encoders\.image\.init_from is .*w\.safetensors, which cannot be read"
    ):
        compute_key(params, "0", torch.device("cpu"))


def test_an_encoder_may_learn_slower(trained: Path) -> None:
    """At a rate of almost nothing its weights stay, while all others move; a rate of one is the ordinary training."""
    run_train(trained, "slow", epochs=1, encoders={"image": {"lr_mult": 1e-6}}, weight_decay=0.0)
    run_train(trained, "usual", epochs=1, encoders={"image": {"lr_mult": 1.0}}, weight_decay=0.0)
    slow, usual = read_state(trained / "slow"), read_state(trained / "usual")
    with deterministic_mode(seed=0, threads=1):
        other, record = load_model(trained / "weights")
        torch.manual_seed(0)
        start = Model(record.architecture, other.task, other.plan)
    parts = [each.part for each in start.inputs]
    image = f"encoders.{parts.index('image')}."
    for name, value in start.state_dict().items():
        if "scale" in name:
            continue
        moved, often = (float((state[name] - value).abs().max()) for state in (slow, usual))
        assert often > 1e-4, name
        assert (moved < 1e-5) == name.startswith(image), name


def test_a_frozen_encoder_keeps_the_statistics_of_its_norms(trained: Path) -> None:
    model = load_model(trained / "weights")[0]
    encoder = build()
    freeze_encoder(encoder)
    model.encoders[0] = encoder
    model.train()
    assert not encoder.training
    assert model.training
    before = encoder.get_buffer("bn1.running_mean").clone()
    encoder(make_batch(4)["image"])
    assert torch.equal(before, encoder.get_buffer("bn1.running_mean"))


def test_dvc_watches_the_folder_of_weights() -> None:
    stages = build_stages()["stages"]
    assert [name for name, stage in stages.items() if "weights" in stage["deps"]] == ["extract", "train"]
