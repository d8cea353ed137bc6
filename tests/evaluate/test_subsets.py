"""Fusing all subsets of the parts together gives what fusing each by itself gives, in calls of bounded size."""

import pytest
import torch
from torch import Tensor, nn

from pipeline.evaluate import subsets
from pipeline.evaluate.subsets import fuse_subsets
from pipeline.models.batches import ReadOrder, read_batches
from pipeline.models.fusions.table import FUSIONS
from pipeline.models.model import Model
from pipeline.tables.contracts import MODALITIES
from pipeline.tasks.options import ClassificationOptions
from pipeline.tasks.task import list_subsets
from pipeline.train.lesson import list_inputs, plan_lesson
from pipeline.train.params import TrainParams
from shardwright import ShardDataset
from tests.support.factory_shards import Toy, make_shards

BATCH = 7
PARTS = tuple(name for name in MODALITIES if name != "video")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ShardDataset:
    return ShardDataset(make_shards(tmp_path_factory.mktemp("toy"), Toy(missing=("image",), test=BATCH)), "test")


def build_model(data: ShardDataset, fusion: str) -> Model:
    torch.manual_seed(0)
    params = TrainParams(modalities=PARTS, fusion=fusion)
    return plan_lesson(params, ClassificationOptions(), data, list_inputs(params, data)).build_model().eval()


@pytest.mark.parametrize("most", [1, 1 << 12, 1 << 20])
@pytest.mark.parametrize("fusion", FUSIONS)
@torch.inference_mode()
def test_each_subset_is_fused_as_by_itself(
    data: ShardDataset, fusion: str, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build_model(data, fusion)
    (batch,) = read_batches("shardwright", data, ReadOrder(BATCH))
    encoded, present = model.encode(batch), model.find_present(batch)
    shown = [present & torch.tensor([part in subset for part in PARTS]) for subset in list_subsets(PARTS)]
    rows: list[int] = []

    def count_rows(module: nn.Module, given: tuple[Tensor, ...]) -> None:
        rows.append(len(given[0]))

    monkeypatch.setattr(subsets, "MOST_NUMBERS", most)
    with model.fusion.register_forward_pre_hook(count_rows):
        found, again = (list(fuse_subsets(model, encoded, shown)) for _ in range(2))
    assert rows == {1: [BATCH] * 2 * len(shown), 1 << 20: [BATCH * len(shown)] * 2}.get(most, rows)
    assert len(found) == len(shown)
    for mask, features, repeated in zip(shown, found, again, strict=True):
        assert features.fused is not None
        assert repeated.fused is not None
        assert torch.equal(features.fused, repeated.fused)
        assert torch.equal(features.present, mask)
        torch.testing.assert_close(features.fused, model.fuse(encoded, mask).fused, rtol=1e-5, atol=1e-6)
