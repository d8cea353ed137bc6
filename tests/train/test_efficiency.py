"""Operations of a training are counted as they are, and nothing of the training changes by it."""

from pathlib import Path

import pytest
import torch

from pipeline.tables.contracts import SHARDS_FOLDER
from pipeline.train.efficiency import count_operations, describe_efficiency, measure_peak, show
from pipeline.train.lesson import list_inputs, plan_lesson
from pipeline.train.training_loop import Trainer
from shardwright import ShardDataset
from tests.support.factory_shards import Toy, make_shards
from tests.train.test_train import make_params

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def data(tmp_path: Path) -> ShardDataset:
    return ShardDataset(make_shards(tmp_path / SHARDS_FOLDER, Toy(train=12, modalities=("image",))), "train")


def make_trainer(data: ShardDataset) -> Trainer:
    params = make_params(
        task="classification", modalities=["image"], encoders={"image": "flat"}, fusion="mean", width=10, batch_size=4
    )
    lesson = plan_lesson(params, params.task, data, list_inputs(params, data))
    return Trainer(lesson.build_model(), params, len(data))


def test_operations_of_linear_layers_are_those_of_their_formula(data: ShardDataset) -> None:
    """Two for each weight and sample forwards; backwards two for its gradient, and two for that of the layer's input,
    which the first layer needs not."""
    first, second = 16 * 16 * 3 * 10, 10 * 4
    assert count_operations(make_trainer(data), data) == 4 * first + 6 * second


def test_counting_changes_nothing(data: ShardDataset) -> None:
    trainer = make_trainer(data)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    random, threads = torch.random.get_rng_state(), torch.get_num_threads()
    line = describe_efficiency(trainer, data, 100.0)
    assert "LOP a sample, forward and backward; " in line
    assert " % of the " in line
    assert all(torch.equal(value, before[name]) for name, value in trainer.model.state_dict().items())
    assert all(parameter.grad is None for parameter in trainer.model.parameters())
    assert torch.equal(random, torch.random.get_rng_state())
    assert threads == torch.get_num_threads()


def test_the_peak_of_a_processor_is_more_than_a_million() -> None:
    assert 1e8 < measure_peak(torch.device("cpu"), torch.float32) < 1e14


@pytest.mark.parametrize(("operations", "shown"), [(1.234e12, "1.23 T"), (5e9, "5 G"), (2e6, "2 M"), (1000, "0.001 M")])
def test_numbers_have_units(operations: float, shown: str) -> None:
    assert show(operations) == shown
