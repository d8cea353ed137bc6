"""Each setting of the loop does what its name says; the defaults change nothing."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from pipeline.errors import InputError, ParamsError
from pipeline.models.checkpoint import load_model
from pipeline.models.history import Epoch
from pipeline.tables.contracts import MODEL_FOLDER, SHARDS_FOLDER
from pipeline.tasks.regression import REGRESSION
from pipeline.train.optimizer import clip_gradients
from pipeline.train.weight_average import WeightAverage, average_weights, use_weights
from tests.support.factory_shards import Toy, make_shards
from tests.train.test_train import make_params, read_bytes, run_train

pytestmark = pytest.mark.slow

PLAIN: dict[str, Any] = {"epochs": 2, "dropout": 0.0, "width": 4}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    make_shards(folder / SHARDS_FOLDER, Toy(train=32, val=8))
    run_train(folder, "plain", **PLAIN)
    return folder


def compare(data: Path, name: str, plain: str = "plain", **changes: Any) -> float:
    """Return the largest difference of a weight from those of a plain run, after a run with other settings."""
    run_train(data, name, **PLAIN, **changes)
    one, other = (load_model(data / run / MODEL_FOLDER, "last.safetensors")[0].state_dict() for run in (plain, name))
    return max(float((one[key] - other[key]).abs().max()) for key in one)


def test_accumulated_batches_are_one_batch(data: Path) -> None:
    run_train(data, "sgd", **PLAIN, optimizer="sgd")  # AdamW takes a full step on gradients that are rounding alone
    assert 0 < compare(data, "accumulated", "sgd", optimizer="sgd", batch_size=4, accumulate=4) < 1e-6


@pytest.mark.parametrize(
    "changes",
    [{"optimizer": "sgd"}, {"max_gradient": 0.01}, {"warm_up": 0.5}, {"ema": 0.5}, {"average_epochs": 2}],
    ids=lambda changes: next(iter(changes)),
)
def test_settings_change_the_weights(data: Path, changes: dict[str, Any]) -> None:
    assert compare(data, "-".join(changes), **changes) > 1e-5


def test_bfloat16_is_near_float32(data: Path) -> None:
    assert 0 < compare(data, "bfloat16", precision="bfloat16") < 0.02


def test_the_model_is_compiled_for_training(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[nn.Module] = []

    def compile_model(model: nn.Module) -> nn.Module:
        compiled.append(model)
        return model

    monkeypatch.setattr(torch, "compile", compile_model)
    assert compare(data, "compiled", compile=True) == 0
    assert len(compiled) == 1


@pytest.mark.sweep
@pytest.mark.filterwarnings("ignore")  # of PyTorch's own
def test_a_compiled_model_learns_the_same(data: Path) -> None:
    assert compare(data, "inductor", compile=True) < 1e-4


def test_the_last_epoch_may_be_the_one_that_is_evaluated(data: Path) -> None:
    outcome = run_train(data, "last", epochs=4, select_epoch="last")
    written = read_bytes(data / "last")
    assert written["best.safetensors"] == written["last.safetensors"]
    assert json.loads(written["model.json"])["best"]["epoch"] == 4
    assert outcome.notes[0].startswith("last epoch 4 of 4: validation ")


def test_the_loss_may_select_the_best_epoch(data: Path) -> None:
    run_train(data, "loss", epochs=4, monitor="loss", learning_rate=0.01)
    written = read_bytes(data / "loss")
    losses = [float(line.split("\t")[2]) for line in written["history.tsv"].decode().splitlines()[1:]]
    assert json.loads(written["model.json"])["best"]["epoch"] == 1 + losses.index(min(losses))


def test_lower_errors_are_better() -> None:
    assert (REGRESSION.minimizes("mae"), REGRESSION.minimizes("r2"), REGRESSION.minimizes(None)) == (True, False, False)
    low, high = (Epoch(1, 0.5, 0.5, {"mae": mae, "r2": 0.0}, 0.001) for mae in (1.0, 2.0))
    assert low.beats(high, "mae", REGRESSION.minimizes("mae"))
    assert not high.beats(low, "mae", REGRESSION.minimizes("mae"))


def test_an_unknown_score_is_refused(data: Path) -> None:
    with pytest.raises(InputError, match=r"train\.monitor is f1; it must be one of loss, accuracy, macro_f1, or null"):
        run_train(data, "unknown", monitor="f1")


def test_one_average_at_a_time() -> None:
    with pytest.raises(ParamsError, match=r"train\.average_epochs is 2; it must be 1 where train\.ema is set"):
        make_params(ema=0.9, average_epochs=2)


def test_seeds_are_reported_with_their_spread(data: Path) -> None:
    outcome = run_train(data, "seeds", seeds=[3, 4], epochs=1)
    assert outcome.notes[1].startswith("2 seeds: validation Macro F1 ") or "±" in outcome.notes[1]
    assert outcome.worked == 2 * 40


def make_layer(value: float) -> nn.Linear:
    layer = nn.Linear(2, 2)
    nn.init.constant_(layer.weight, value)
    nn.init.constant_(layer.bias, value)
    return layer


def test_a_moving_average_follows_the_weights() -> None:
    layer = make_layer(0.0)
    average = WeightAverage(layer, 0.5, 1)
    expected = 0.0
    for step in range(1, 12):
        layer = make_layer(float(step))
        average.add_step(layer, step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
    torch.testing.assert_close(average.compute(layer)["weight"], torch.full((2, 2), expected))


def test_the_last_epochs_are_averaged() -> None:
    average = WeightAverage(make_layer(0.0), 0.0, 3)
    for epoch in range(1, 6):
        average.add_epoch(make_layer(float(epoch)), epoch)
    assert torch.equal(average.compute(make_layer(9.0))["bias"], torch.full((2,), 4.0))
    assert average_weights([{"n": torch.tensor(1)}, {"n": torch.tensor(5)}])["n"] == 5


def test_a_model_gets_its_own_weights_back() -> None:
    layer = make_layer(1.0)
    before = copy.deepcopy(layer.state_dict())
    with use_weights(layer, make_layer(2.0).state_dict()):
        assert layer.weight[0, 0] == 2
    assert all(torch.equal(layer.state_dict()[name], value) for name, value in before.items())


def test_gradients_are_clipped_unless_they_are_not() -> None:
    layer = make_layer(1.0)
    for parameter in layer.parameters():
        parameter.grad = torch.full_like(parameter, 10.0)
    clip_gradients(layer, None)
    assert layer.bias.grad is not None
    assert layer.bias.grad[0] == 10
    clip_gradients(layer, 1.0)
    assert layer.bias.grad[0] == pytest.approx(6**-0.5)
